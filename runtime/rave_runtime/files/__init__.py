"""Where bytes lie: places on this machine and in object stores, and writing a file whole or not at all."""
