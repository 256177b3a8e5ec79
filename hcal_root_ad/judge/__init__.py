"""Judge: what is common, what is left, and whose fault it is."""
