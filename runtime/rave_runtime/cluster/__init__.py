"""The same run on a Ray cluster. Only the modules of this package import Ray."""
