"""Enhances backlit photographs with a bundle of ONNX graphs. Needs neither torch nor CLIP.

Public names are imported when they are first used, so that programs do not wait for what they do not use.
"""

from __future__ import annotations

from rave_runtime.backends.privacy import turn_off_reports
from rave_runtime.version import __version__

TYPE_CHECKING = False  # type checkers read it as True; importing typing takes as long as this whole module
if TYPE_CHECKING:
    from typing import Any

    from rave_runtime.enhancer import Enhancer
    from rave_runtime.errors import BundleError, DeviceError, PhotoError, RaveError, UsageError
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
    """Imports a public name when it is used for the first time."""
    if name == "Enhancer":
        from rave_runtime.enhancer import Enhancer

        return Enhancer
    if name == "EnhancedPhoto":
        from rave_runtime.run.one_photo import EnhancedPhoto

        return EnhancedPhoto
    if name in __all__ or name == "errors":
        import importlib

        errors = importlib.import_module("rave_runtime.errors")
        return errors if name == "errors" else getattr(errors, name)
    raise AttributeError(f"module 'rave_runtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names the public names before their first use, too, for `help` and notebooks."""
    return sorted({*globals(), *__all__})
