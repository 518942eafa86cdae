"""CLIP models of open_clip, by pretrained tag or local file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import open_clip
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from safetensors import SafetensorError
from torch import Tensor

from rave_runtime.errors import reason_of
from rave_train.encoders.attention import replace_self_attention
from rave_train.encoders.encoder import Encoder, spread_stages
from rave_train.encoders.folding import fold_batch_norms
from rave_train.encoders.hub import fetch_from_hub, require_reachable, silence
from rave_train.encoders.preprocessing import Preprocessing
from rave_train.encoders.spec import EncoderSpec, name_near_matches
from rave_train.encoders.text import TextEncoder
from rave_train.encoders.torchscript import is_torchscript, read_torchscript
from rave_train.errors import EncoderError, reason_of_loading

_NOT_WEIGHTS: Final = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep among their tensors."""

_PREPROCESSING: Final = ("mean", "std", "interpolation", "resize_mode")
"""Settings of a pretrained tag that say how its pictures are prepared."""

_HUB_FILES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClipEncoder(Encoder):
    """The image tower of an open_clip model, with its text tower where prompts can be learned."""

    def __init__(
        self, spec: str, model: Any, load_tokenizer: Callable[[], Any], preprocessing: Preprocessing
    ) -> None:
        text = TextEncoder(model, load_tokenizer) if TextEncoder.is_steerable(model) else None
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
        outputs = self.visual.forward_intermediates(
            pixels, indices=self.stage_indices, stop_early=not embed, intermediates_only=not embed
        )
        features = [stage.float() for stage in outputs["image_intermediates"]]
        return (outputs["image_features"].float() if embed else None), features


def open_open_clip(spec: str, parsed: EncoderSpec) -> OpenClipEncoder:
    """Builds an open_clip model and loads its weights: a tag, a file, or "random".

    Raises:
        EncoderError: unknown model, tag or setting, weights that do not fit or cannot be had, or a file
            that does not tell whether its network computes with QuickGELU.
    """
    unknown = sorted(parsed.settings.keys() - {"size", "quickgelu"})
    if unknown:
        raise EncoderError(f"{spec}: unknown setting {unknown[0]!r}: open_clip takes size and quickgelu")
    size = parsed.settings.get("size")
    if parsed.settings.get("quickgelu") not in (None, "yes", "no") or not (size is None or size.isdigit()):
        raise EncoderError(f"{spec}: quickgelu is yes or no, size a number of pixels")
    name = _model_name(parsed.model)
    weights = parsed.weights or "openai"
    tag = get_pretrained_cfg(name, weights)
    if weights != "random" and not tag and not Path(weights).is_file():
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise EncoderError(f"{weights!r} is neither a pretrained tag of {name} ({tags}) nor a file")
    quickgelu = _wants_quickgelu(spec, parsed, name, tag)
    file = None if weights == "random" else _fetch(spec, parsed, tag) if tag else Path(weights)
    try:
        archive = file is not None and is_torchscript(file)
        with silence():  # open_clip warns of random weights, which the file's replace below
            model = open_clip.create_model(
                name,
                pretrained=None if file is None or archive else str(file),
                force_quick_gelu=quickgelu,
                force_image_size=None if size is None else int(size),
                force_preprocess_cfg={key: tag[key] for key in _PREPROCESSING if key in tag},
                pretrained_text=False,
            )
        if file is not None and archive:
            tensors = {key: value.float() for key, value in read_torchscript(file).items()}
            model.load_state_dict({key: tensors[key] for key in tensors if key not in _NOT_WEIGHTS})
    except (
        AttributeError, EOFError, KeyError, OSError, RuntimeError, SafetensorError, StopIteration, TypeError,
        ValueError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        first = reason_of_loading(error)
        raise EncoderError(f"{spec}: {file} does not hold the weights of {name}: {first}") from error
    return OpenClipEncoder(spec, model, lambda: open_clip.get_tokenizer(name), _preprocessing(spec, model))


def _wants_quickgelu(spec: str, parsed: EncoderSpec, name: str, tag: dict[str, Any]) -> bool:
    """Whether the weights were trained with QuickGELU, without which they give other embeddings.

    Raises:
        EncoderError: neither the name nor the file tells it.
    """
    if "quickgelu" in parsed.settings:
        return parsed.settings["quickgelu"] == "yes"
    if tag:
        return bool(tag.get("quick_gelu"))
    file = Path(parsed.weights)
    if parsed.weights == "random" or (open_clip.get_model_config(name) or {}).get("quick_gelu"):
        return False  # the model's own config decides
    if is_torchscript(file):
        return True  # such archives are OpenAI's, all trained with QuickGELU
    tags = {other: get_pretrained_cfg(name, other) for other in list_pretrained_tags_by_model(name)}
    for config in tags.values():  # a file in the hub's cache lies in a folder named after its repository
        folder = "models--" + config.get("hf_hub", "").strip("/").replace("/", "--")
        if config.get("hf_hub") and folder in file.absolute().parts:
            return bool(config.get("quick_gelu"))
    quick = [other for other, config in tags.items() if config.get("quick_gelu")]
    plain = [other for other in tags if other not in quick]
    if quick and plain:
        raise EncoderError(
            f"{spec}: the file does not tell whether its network computes with QuickGELU, as {quick[0]} does "
            f"and {plain[0]} does not: give open_clip:{parsed.model},quickgelu=yes@{file} or quickgelu=no"
        )
    return bool(quick)


def _fetch(spec: str, parsed: EncoderSpec, tag: dict[str, Any]) -> Path:
    """The file of a pretrained tag, downloaded where it is not in the cache.

    Raises:
        EncoderError: it cannot be downloaded.
    """
    repository, named = os.path.split(tag.get("hf_hub") or "")
    names = (named,) if named else _HUB_FILES
    place = f"{names[0]} from https://huggingface.co/{repository}" if repository else tag.get("url", "")
    try:
        if repository:
            return fetch_from_hub(repository, names)
        require_reachable(tag["url"])
        with silence():
            return Path(download_pretrained(tag))
    except (OSError, RuntimeError, KeyError) as error:
        quickgelu = ",quickgelu=yes" if tag.get("quick_gelu") else ""
        raise EncoderError(
            f"{spec}: the weights cannot be downloaded ({reason_of(error)}): fetch {place} on "
            f"another machine and give open_clip:{parsed.model}{quickgelu}@FILE"
        ) from error


def _model_name(model: str) -> str:
    """The name under which open_clip knows a model, or a model config, which is registered here.

    Raises:
        EncoderError: there is no such model or file.
    """
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
    """The input format that open_clip states for a model.

    Raises:
        EncoderError: it resizes pictures in another way than `Preprocessing` can.
    """
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
