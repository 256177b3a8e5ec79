"""Damaged files by the thousand, and what becomes of them: ``python -m benchmarks.fuzz -o docs/results/fuzz``."""
