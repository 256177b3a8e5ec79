"""References: runs that are known to be good, their rates, and the catalogue that finds the one that fits a run."""
