"""CLIP models of open_clip, by pretrained tag or local file."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from safetensors import SafetensorError
from torch import Tensor

from rave_train.encoders.attention import replace_self_attention
from rave_train.encoders.encoder import Encoder, spread_stages
from rave_train.encoders.folding import fold_batch_norms
from rave_train.encoders.preprocessing import Preprocessing
from rave_train.encoders.spec import EncoderSpec, name_near_matches
from rave_train.encoders.text import TextEncoder
from rave_train.errors import EncoderError

_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep among their tensors."""


class OpenClipEncoder(Encoder):
    """The image tower of an open_clip model, with its text tower where prompts can be learned."""

    def __init__(self, spec: str, model: Any, tokenizer: Any, preprocessing: Preprocessing) -> None:
        text = TextEncoder(model, tokenizer) if TextEncoder.is_steerable(model) else None
        super().__init__(spec, preprocessing, text)
        self.visual = model.visual.eval()
        fold_batch_norms(self.visual)
        if hasattr(self.visual, "transformer"):
            replace_self_attention(self.visual.transformer)
        self.stage_indices = spread_stages(_depth(model.visual))

    def forward(self, pixels: Tensor, embed: bool, stages: bool) -> tuple[Tensor | None, list[Tensor]]:
        """See `Encoder.forward`."""
        if not stages:
            return self.visual(pixels).float(), []
        found = self.visual.forward_intermediates(
            pixels, indices=self.stage_indices, stop_early=not embed, intermediates_only=not embed
        )
        features = [stage.float() for stage in found["image_intermediates"]]
        return (found["image_features"].float() if embed else None), features


def open_open_clip(spec: str, parsed: EncoderSpec) -> OpenClipEncoder:
    """Builds an open_clip model and loads its weights: a tag, a file, or "random".

    OpenAI's weights were trained with QuickGELU, which the plain model names do not use: it is turned
    on for tags that say so and for OpenAI's own archives; for other files `quickgelu=yes` does it.

    Raises:
        EncoderError: unknown model, tag or setting, weights that do not fit or cannot be had.
    """
    unknown = sorted(parsed.settings.keys() - {"size", "quickgelu"})
    if unknown:
        raise EncoderError(f"{spec}: unknown setting {unknown[0]!r}: open_clip takes size and quickgelu")
    name = _model_name(parsed.model)
    weights = parsed.weights or "openai"
    file = Path(weights)
    tag = get_pretrained_cfg(name, weights)
    if weights != "random" and not tag and not file.is_file():
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise EncoderError(f"{weights!r} is neither a pretrained tag of {name} ({tags}) nor a file")
    archive = not tag and file.is_file() and _is_torchscript(file)
    wants = parsed.settings.get("quickgelu", "yes" if archive or tag.get("quick_gelu") else "no")
    size = parsed.settings.get("size")
    if wants not in ("yes", "no") or (size is not None and not size.isdigit()):
        raise EncoderError(f"{spec}: quickgelu is yes or no, size a number of pixels")
    try:
        model = open_clip.create_model(
            name,
            pretrained=None if weights == "random" or archive else weights,
            force_quick_gelu=wants == "yes",
            force_image_size=None if size is None else int(size),
            pretrained_text=False,
        )
        if archive:
            model.load_state_dict(_read_torchscript(file))
    except (
        SafetensorError, RuntimeError, OSError, ValueError, EOFError, KeyError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        first = (str(error) or type(error).__name__).splitlines()[0]
        if tag:
            raise EncoderError(
                f"{spec}: the weights could not be downloaded: fetch them by hand and name the file, "
                f"open_clip:{parsed.model}@FILE ({first})"
            ) from error
        raise EncoderError(f"{spec}: {file} does not hold the weights of {name}: {first}") from error
    return OpenClipEncoder(spec, model, open_clip.get_tokenizer(name), _preprocessing(spec, model))


def _model_name(model: str) -> str:
    if model.endswith(".json"):
        if not Path(model).is_file():
            raise EncoderError(f"{model} is not a file: a model config of open_clip is needed")
        open_clip.add_model_config(Path(model))
        return Path(model).stem
    if model not in open_clip.list_models():
        near = name_near_matches(model, open_clip.list_models())
        raise EncoderError(f"open_clip has no model {model!r}{near}")
    return model


def _preprocessing(spec: str, model: Any) -> Preprocessing:
    config = model.visual.preprocess_cfg
    size = config["size"] if isinstance(config["size"], int) else config["size"][0]
    if config["resize_mode"] not in ("shortest", "squash"):
        raise EncoderError(f"{spec}: pictures resized by {config['resize_mode']!r} are not supported")
    interpolation: Literal["bicubic", "bilinear"] = (
        "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    )
    resize = size if config["resize_mode"] == "shortest" else None
    return Preprocessing(size, resize, interpolation, tuple(config["mean"]), tuple(config["std"]))


def _depth(visual: Any) -> int:
    """How many blocks `forward_intermediates` counts: a ResNet's stem and layers, or a ViT's blocks."""
    if hasattr(visual, "stem"):
        return 5
    trunk = getattr(visual, "trunk", None)
    return len(trunk.feature_info) if trunk is not None else len(visual.transformer.resblocks)


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _read_torchscript(file: Path) -> dict[str, Tensor]:
    tensors = torch.jit.load(str(file), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return {name: value.float() for name, value in tensors.items() if name not in _NOT_WEIGHTS}
