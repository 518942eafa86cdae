"""The methods that are compared: how each is loaded and run, and its parameters and operations."""
