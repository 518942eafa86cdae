"""Opening an encoder by its name."""

from __future__ import annotations

import torch

from rave_runtime.errors import reason_of
from rave_train.encoders.encoder import Encoder
from rave_train.encoders.spec import parse_spec
from rave_train.errors import EncoderError


def open_encoder(spec: str) -> Encoder:
    """Opens an encoder, frozen, on the CPU, in float32.

    Args:
        spec: its name, after the grammar in `GRAMMAR`. Settings: `size` (input side in pixels), and
            for open_clip `quickgelu` (yes, no), for timm `mean`, `std` (one number for all channels)
            and any argument of `timm.create_model`, such as `pad_type`.

    Raises:
        EncoderError: unknown source, model, tag or setting, or weights that do not fit.
    """
    parsed = parse_spec(spec)
    encoder: Encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # "random" weights are the same in every process and every run
        if parsed.source == "open_clip":
            from rave_train.encoders.open_clip import open_open_clip

            encoder = open_open_clip(spec, parsed)
        else:
            from rave_train.encoders.timm import open_timm

            encoder = open_timm(spec, parsed)
    encoder.freeze()
    try:
        encoder.dimension()
    except (AssertionError, RuntimeError, ValueError) as error:
        size = encoder.preprocessing.size_px
        raise EncoderError(
            f"{spec} cannot take pictures of {size}x{size} px: {reason_of(error)} "
            "(of timm's transformers, img_size sets the size they are built for)"
        ) from error
    return encoder
