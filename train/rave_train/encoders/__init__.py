"""Frozen image encoders that guide the training: open_clip's and timm's, behind one interface."""

from rave_train.encoders.encoder import Encoder
from rave_train.encoders.opening import open_encoder
from rave_train.encoders.text import TextEncoder
from rave_train.errors import EncoderError

__all__ = ["Encoder", "EncoderError", "TextEncoder", "open_encoder"]
