"""How fast: measured beside what one would use instead. ``python -m benchmarks -o docs/results/bench``."""
