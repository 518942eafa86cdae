"""Measures rave-backlit and the methods people would use instead: `python -m benchmarks --help`."""
