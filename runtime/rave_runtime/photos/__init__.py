"""A photograph's file and its pixels: reading, writing, and all that the file says beside the pixels."""
