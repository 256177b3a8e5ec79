"""Compare: what differs between a run and a reference run, at the pileup of the run."""
