"""Each contestant in a process that can be timed, measured and halted, and the machine it runs on."""
