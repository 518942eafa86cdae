"""Frozen image encoders that guide the training: open_clip's and timm's, behind one interface."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rave_train.encoders.encoder import Encoder
    from rave_train.encoders.opening import open_encoder
    from rave_train.encoders.text import TextEncoder

_HOMES = {"Encoder": "encoder", "TextEncoder": "text", "open_encoder": "opening"}

__all__ = ["Encoder", "TextEncoder", "open_encoder"]


def __getattr__(name: str) -> Any:
    """Imports torch on first use only: the command line reads the names of encoders without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"rave_train.encoders.{_HOMES[name]}"), name)
