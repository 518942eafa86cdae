"""Finding an encoder by its name: `SOURCE:MODEL[,key=value...][@WEIGHTS]`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import torch

from rave_train.encoders.encoder import Encoder, EncoderError

GRAMMAR = (
    "SOURCE:MODEL[,key=value...][@WEIGHTS], such as open_clip:ViT-B-32@openai, "
    "open_clip:RN101@/path/to/weights.safetensors or timm:mobilenetv2_100@/path/to/weights.safetensors"
)


@dataclass(frozen=True)
class EncoderSpec:
    """A parsed encoder name.

    Attributes:
        source: "open_clip" or "timm".
        model: name of the model there; for open_clip also a path to a model config (.json).
        settings: what the weights need that the name does not say, such as size or mean.
        weights: a pretrained tag, a file, "random", or "" for the source's default.
    """

    source: str
    model: str
    settings: dict[str, str]
    weights: str


def parse_spec(spec: str) -> EncoderSpec:
    """Takes an encoder's name apart.

    Raises:
        EncoderError: it does not follow the grammar.
    """
    source, colon, rest = spec.partition(":")
    named, _, weights = rest.partition("@")
    model, *pairs = named.split(",")
    if not colon or not model or source not in ("open_clip", "timm") or not all("=" in p for p in pairs):
        raise EncoderError(f"{spec!r} is no encoder's name: {GRAMMAR} is needed")
    settings = dict(pair.split("=", 1) for pair in pairs)
    return EncoderSpec(source, model, settings, weights)


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
            f"{spec} cannot take pictures of {size}x{size} px: {str(error).splitlines()[0]} "
            "(of timm's transformers, img_size sets the size they are built for)"
        ) from error
    return encoder


def name_near_matches(wrong: str, known: list[str]) -> str:
    """ " (did you mean a, b?)" or an empty string."""
    lower = {name.lower(): name for name in known}
    near = get_close_matches(wrong.lower(), list(lower), n=3, cutoff=0.5)
    return f" (did you mean {', '.join(lower[name] for name in near)}?)" if near else ""
