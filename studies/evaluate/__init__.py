"""Evaluate: every system on the same runs, against the limit that nobody can pass."""
