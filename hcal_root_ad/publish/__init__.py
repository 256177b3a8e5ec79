"""Publish: a verdict as monitor elements in a ROOT file for both DQM GUIs, and as tables, pictures and a record."""
