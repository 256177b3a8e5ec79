"""Simulate: a detector and its runs, with faults, in every kind of file that users have, and the truth about them."""
