"""ONNX graphs made from the torch network: two graphs for tiles, and graphs of whole pictures."""
