"""TensorRT engines, which are built from a bundle's graphs, checked, and entered into its manifest."""
