"""Figures of speed and memory, each beside its floor in the same run: `python -m benchmarks`."""
