"""An era of runs, judged in order: what knowledge from run to run is worth, and what it learns that it should not."""
