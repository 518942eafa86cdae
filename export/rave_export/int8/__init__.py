"""INT8 graphs: what they are calibrated on, which ranges they round in, and which layers they leave alone."""
