"""Judge: reconstruction to scores, scores to flags, flags to intervals and groups."""
