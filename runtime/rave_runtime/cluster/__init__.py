"""Runs rave-run's work on a Ray cluster. Only the modules of this package import Ray."""
