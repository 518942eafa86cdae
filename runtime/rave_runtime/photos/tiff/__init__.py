"""TIFF written and its metadata read, every tag as it is."""
