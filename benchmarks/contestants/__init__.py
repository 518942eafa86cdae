"""Who is compared: the methods, how each is loaded and run, and its parameters and operations."""
