"""Enhances backlit photographs with a bundle of ONNX graphs. Needs neither torch nor CLIP."""

from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import BundleError, DeviceError, PhotoError, RaveError, UsageError

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "DeviceError",
    "Enhancer",
    "PhotoError",
    "RaveError",
    "UsageError",
]
