"""Image encoders of timm: ResNets, ViTs, MobileNets and the rest of its zoo."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any, Final, Literal

import timm
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from timm.models import load_state_dict
from torch import Tensor

from rave_runtime.errors import reason_of
from rave_train.encoders.encoder import Encoder, spread_stages
from rave_train.encoders.hub import fetch_from_hub, silence
from rave_train.encoders.preprocessing import Preprocessing
from rave_train.encoders.spec import EncoderSpec, name_near_matches
from rave_train.errors import EncoderError, reason_of_loading

_OURS: Final = ("size", "mean", "std")
"""Settings of the input format; all others are arguments of `timm.create_model`."""

_HUB_FILES: Final = ("model.safetensors", "pytorch_model.bin")


class TimmEncoder(Encoder):
    """A timm model without its classifier; the embedding is what the classifier would read."""

    def __init__(self, spec: str, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__(spec, preprocessing)
        self.model = model
        self.stage_indices = spread_stages(len(model.feature_info))

    def forward(self, pixels: Tensor, embed: bool, stages: bool) -> tuple[Tensor | None, list[Tensor]]:
        """See `Encoder.forward`."""
        if not stages:
            return self.model(pixels).float(), []
        outputs = self.model.forward_intermediates(
            pixels, indices=self.stage_indices, stop_early=not embed, intermediates_only=not embed
        )
        if not embed:
            return None, [stage.float() for stage in outputs]
        final, features = outputs
        embedding = self.model.forward_head(final, pre_logits=True)
        return embedding.float(), [stage.float() for stage in features]


def open_timm(spec: str, parsed: EncoderSpec) -> TimmEncoder:
    """Builds a timm model and loads its weights: a file, "random", or the hub's when none is named.

    Raises:
        EncoderError: unknown model or setting, weights that do not fit or cannot be had.
    """
    settings = dict(parsed.settings)
    input_settings: dict[str, str] = {key: settings.pop(key) for key in _OURS if key in settings}
    if not timm.is_model(parsed.model):
        near = name_near_matches(parsed.model, timm.list_models())
        raise EncoderError(f"timm has no model {parsed.model!r}{near}")
    if "num_classes" in settings:
        raise EncoderError(f"{spec}: only features are used, which no classes come after: omit num_classes")
    arguments: dict[str, Any] = {key: _literal(value) for key, value in settings.items()}
    if not parsed.weights:  # given as tensors, so that timm does not unpickle a file itself
        arguments |= {
            "pretrained": True,
            "pretrained_cfg_overlay": {"state_dict": _fetch(spec, parsed.model)},
        }
    try:
        model = timm.create_model(parsed.model, num_classes=0, **arguments)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        what = f"has no setting {unknown[1]!r}" if unknown else "cannot be built with these settings"
        raise EncoderError(f"{spec}: timm's model {parsed.model} {what}") from error
    except (AttributeError, KeyError, RuntimeError, ValueError) as error:
        raise EncoderError(f"{spec}: timm cannot build this model: {reason_of(error)}") from error
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "feature_info"):
        raise EncoderError(f"{spec}: timm gives no intermediate features of this model: choose another")
    if parsed.weights not in ("", "random"):
        _load(spec, model, Path(parsed.weights))
    return TimmEncoder(spec, model, _preprocessing(spec, model, input_settings))


def _fetch(spec: str, name: str) -> dict[str, Tensor]:
    """The weights that timm chooses for a model, from the hub or its cache.

    Raises:
        EncoderError: timm has none for it, or they cannot be downloaded.
    """
    config = timm.get_pretrained_cfg(name)
    repository = None if config is None else config.hf_hub_id
    if config is None or repository is None:
        raise EncoderError(f"{spec}: timm has no weights of this model: name a file, timm:{name}@FILE")
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
    try:
        return _read(fetch_from_hub(repository, names))
    except OSError as error:
        raise EncoderError(
            f"{spec}: the weights cannot be downloaded ({reason_of(error)}): fetch {names[0]} from "
            f"https://huggingface.co/{repository} on another machine and give timm:{name}@FILE"
        ) from error


def _read(file: Path) -> dict[str, Tensor]:
    """Reads the tensors of a file of weights.

    Raises:
        EncoderError: the file holds something else.
    """
    try:
        with silence():  # torch warns of archives with a program inside before it refuses them
            tensors: dict[str, Tensor] = load_state_dict(str(file), weights_only=True)
    except (
        AttributeError, EOFError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError,
        pickle.UnpicklingError,
    ) as error:  # fmt: skip
        first = reason_of_loading(error)
        raise EncoderError(f"{file} does not hold weights: {first}") from error
    return tensors


def _load(spec: str, model: Any, file: Path) -> None:
    """Loads weights from a file into a timm model, those of a classifier left out.

    Raises:
        EncoderError: the file is missing, or holds the weights of another model.
    """
    if not file.is_file():
        raise EncoderError(
            f"{spec}: {file} is not a file: the weights of {model.default_cfg['architecture']}"
        )
    tensors = _read(file)
    classifier = model.default_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    tensors = {
        name: value for name, value in tensors.items() if not any(name.startswith(f"{h}.") for h in heads)
    }
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        expected = model.state_dict()
        missing = sorted(expected.keys() - tensors.keys())
        unknown = sorted(tensors.keys() - expected.keys())
        raise EncoderError(
            f"{file} holds the weights of another model than {model.default_cfg['architecture']}: "
            f"missing {missing[:2]}, unknown {unknown[:2]}, or other shapes"
        ) from error


def _preprocessing(spec: str, model: Any, input_settings: dict[str, str]) -> Preprocessing:
    """The input format that timm states for a model, changed by the settings in the encoder's name.

    Raises:
        EncoderError: a setting is not a number.
    """
    config: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    try:
        size = int(input_settings.get("size", config["input_size"][-1]))
        mean = (float(input_settings["mean"]),) * 3 if "mean" in input_settings else tuple(config["mean"])
        std = (float(input_settings["std"]),) * 3 if "std" in input_settings else tuple(config["std"])
    except ValueError as error:
        raise EncoderError(f"{spec}: size, mean and std are numbers: {error}") from error
    squashes = config.get("crop_mode") == "squash"
    interpolation: Literal["bicubic", "bilinear"] = (
        "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    )
    resize = None if squashes else math.floor(size / config["crop_pct"])
    return Preprocessing(size, resize, interpolation, mean, std)


def _literal(text: str) -> str | int | float | bool:
    """A setting's value as Python means it: 3, 0.5, yes, no, or the text itself."""
    if text in ("yes", "no"):
        return text == "yes"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
