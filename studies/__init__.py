"""Studies that measure the judge rather than a run: outside of the wheel, run from a checkout."""
