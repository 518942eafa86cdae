"""Runs each contestant in a process that can be timed, measured and halted, and describes the machine."""
