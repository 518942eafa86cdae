"""Measures rave-backlit and the methods that people would use instead: `python -m benchmarks --help`."""
