"""Turns checkpoints into bundles that the runtime reads, and proves them. Needs torch and onnx."""
