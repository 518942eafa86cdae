"""An encoder's name, taken apart: `SOURCE:MODEL[,key=value...][@WEIGHTS]`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from rave_train.errors import EncoderError

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
        settings: texts by key that say what the model's name leaves open, such as size or mean.
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
    before_weights, _, weights = rest.partition("@")
    model, *pairs = before_weights.split(",")
    if not colon or not model or source not in ("open_clip", "timm") or not all("=" in p for p in pairs):
        raise EncoderError(f"{spec!r} is not the name of an encoder: {GRAMMAR} is needed")
    settings = dict(pair.split("=", 1) for pair in pairs)
    return EncoderSpec(source, model, settings, weights)


PUBLISHED_GUIDANCE_ENCODER: Final = "open_clip:ViT-B-32@openai"
PUBLISHED_IDENTITY_ENCODER: Final = "open_clip:RN101@openai"


def is_published_guidance(name: str) -> bool:
    """Whether a name means OpenAI's ViT-B/32, by its tag or by a file of its weights."""
    spec = parse_spec(name)
    models = ("ViT-B-32", "ViT-B-32-quickgelu")
    if spec.source != "open_clip" or spec.model not in models or spec.settings.get("quickgelu") == "no":
        return False
    is_file = "." in spec.weights or "/" in spec.weights or "\\" in spec.weights
    return is_file or spec.weights in ("", "openai")


def may_have_text(name: str) -> bool:
    """Whether an encoder of this name may have a text encoder, as far as the name tells."""
    return parse_spec(name).source == "open_clip"


def is_published_identity(name: str) -> bool:
    """Whether a name means CLIP's RN101, with whatever weights."""
    spec = parse_spec(name)
    return spec.source == "open_clip" and spec.model in ("RN101", "RN101-quickgelu")


def name_near_matches(wrong: str, names: list[str]) -> str:
    """ " (did you mean a, b?)" or an empty string."""
    lower = {name.lower(): name for name in names}
    near = get_close_matches(wrong.lower(), list(lower), n=3, cutoff=0.5)
    return f" (did you mean {', '.join(lower[name] for name in near)}?)" if near else ""
