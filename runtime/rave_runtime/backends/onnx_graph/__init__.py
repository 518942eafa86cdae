"""The nodes and tensors of an ONNX graph, and how large the tensors become, known before it runs."""
