"""ONNX graphs made from the torch network: the two of tiles, and those of whole pictures."""
