"""Enhances backlit photographs with a bundle of ONNX graphs. Needs neither torch nor CLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rave_runtime.backends.privacy import turn_off_reports
from rave_runtime.errors import BundleError, DeviceError, PhotoError, RaveError, UsageError
from rave_runtime.version import __version__

if TYPE_CHECKING:
    from rave_runtime.enhancer import Enhancer
    from rave_runtime.run.one_photo import EnhancedPhoto

__all__ = [
    "BundleError",
    "DeviceError",
    "EnhancedPhoto",
    "Enhancer",
    "PhotoError",
    "RaveError",
    "UsageError",
    "__version__",
]

turn_off_reports()


def __getattr__(name: str) -> Any:
    """Imports the enhancer when it is first used, so that `rave-run --help` need not wait for it."""
    if name == "Enhancer":
        from rave_runtime.enhancer import Enhancer

        return Enhancer
    if name == "EnhancedPhoto":
        from rave_runtime.run.one_photo import EnhancedPhoto

        return EnhancedPhoto
    raise AttributeError(f"module 'rave_runtime' has no attribute {name!r}")
