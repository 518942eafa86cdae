"""What each command measures: latency, memory, scale, tiling, roofline and quality."""
