"""What runs a bundle's graphs: onnxruntime, OpenVINO or TensorRT, behind one protocol."""
