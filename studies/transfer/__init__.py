"""Transfer learning as a study: which blocks of GraphSTAD carry over, how, and what it saves."""
