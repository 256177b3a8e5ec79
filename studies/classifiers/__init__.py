"""Classifiers: systems that judge whole images, not channels, and so have a study and a table of their own."""
