"""Training runs whose results this project ships, each repeatable by one command."""
