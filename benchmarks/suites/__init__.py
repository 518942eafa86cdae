"""Measures what the commands ask for: latency, memory, scale, tiling, roofline and quality."""
