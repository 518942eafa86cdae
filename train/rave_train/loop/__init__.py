"""The training loop: its options, phases, state, files and processes."""
