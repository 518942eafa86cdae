"""TensorRT and TensorRT for RTX: finding their libraries, building engines, running them."""
