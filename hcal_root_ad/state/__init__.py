"""A detector state: what each channel and unit does today, learned from run to run, and never a fault."""
