"""Runs that made something this project ships, each repeatable by one command."""
