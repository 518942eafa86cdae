"""Gathers what a run needs before its first step: pictures, encoders and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from rave_runtime.arrays import Picture
from rave_train.data.batches import TrainingPictures, to_tensor
from rave_train.data.exchange import describe_exchange
from rave_train.data.pairs import (
    Pairing,
    leave_out_other_shapes,
    match_pairs,
    require_one_shape,
    require_pairs,
)
from rave_train.data.photographs import Photograph, find_photographs, hash_set, load_square, load_squares
from rave_train.encoders import Encoder, open_encoder
from rave_train.encoders.spec import is_published_identity, parse_spec
from rave_train.errors import DataError
from rave_train.guidance.clip_lit import PromptGuidance
from rave_train.guidance.clip_lit_latent import LatentGuidance
from rave_train.guidance.embeddings import default_cache, embed_photographs, embed_vocabulary
from rave_train.guidance.guidance import Guidance
from rave_train.guidance.identity import (
    PUBLISHED_COST_OF_HALVING,
    SCALE_PICTURES,
    identity_loss,
    stage_weights,
)
from rave_train.guidance.need_of_text import need_of_text, require_text_by_name
from rave_train.guidance.options import ClipLitLatentOptions, ClipLitOptions, PairOptions, RaveOptions
from rave_train.guidance.rave import guide_by_residual
from rave_train.loop.config import RunConfig
from rave_train.loop.events import Listener, Note, Work

GRID_ROWS: Final = 6
"""Most pictures in a grid."""

_CPU_SIZE_PX: Final = 256
"""Side of training pictures above which a CPU takes days."""

_SLOW: Final = (
    "there is no GPU: thousands of steps of this size take days; for a CPU there are --size-px 128 "
    "--channels 16 --init-from embedded"
)


@dataclass(frozen=True)
class TrainingData:
    """Which pictures a run uses.

    Attributes:
        backlit: pictures to be enhanced.
        well_lit: well-lit pictures; in paired data the partners of the backlit ones, in the same order.
        paired: whether they are partners.
        report: lines about what matched, what did not, and what was skipped.
    """

    backlit: tuple[Photograph, ...]
    well_lit: tuple[Photograph, ...]
    paired: bool
    report: str


@dataclass(frozen=True)
class ShownPictures:
    """Fixed pictures that show how a run goes.

    Attributes:
        backlit: [n, 3, size, size] float32 in [0, 1].
        truth: their partners in the same shape, or None.
        held_out: whether they are validation pictures, whose PSNR chooses the best checkpoint.
        report: lines about validation pictures that were left out; empty where there are none.
    """

    backlit: Tensor
    truth: Tensor | None
    held_out: bool
    report: str = ""


@dataclass(frozen=True)
class Ingredients:
    """What a run is made of.

    Attributes:
        data: the photographs.
        pictures: the backlit ones as training samples.
        guidance_encoder: the encoder that guides, on the device.
        identity_encoder: the encoder of the identity loss, on the device; the same object as the other where
            both have one name.
        guidance: the guidance before its first step, on the CPU.
        views: squares of backlit and of well-lit pictures for a guidance that learns; empty for another.
        identity_scale: factor on the identity loss, which brings it to the published encoder's scale.
        shown: pictures for the grid and the validation.
        made_of: JSON values, among them hashes of data and encoders, that a resumed run must find again.
    """

    data: TrainingData
    pictures: TrainingPictures
    guidance_encoder: Encoder
    identity_encoder: Encoder
    guidance: Guidance
    views: tuple[Sequence[Picture], Sequence[Picture]]
    identity_scale: float
    shown: ShownPictures
    made_of: dict[str, Any]


def gather(
    config: RunConfig, device: torch.device, listen: Listener, identity_scale: float | None = None
) -> Ingredients:
    """Finds the pictures, opens the encoders and builds the guidance.

    Args:
        config: the config of the run.
        device: where to compute.
        listen: told of the progress.
        identity_scale: for a resumed run, the scale it began with; None measures it.

    Raises:
        DataError: the folders do not hold what is needed, or both sets look the same to the encoder.
        EncoderError: an encoder cannot be opened or lacks what the method needs.
    """
    for name in (config.encoder, config.identity_encoder_name):  # before minutes of decoding
        parse_spec(name)
    require_text_by_name(config.options, config.encoder)
    data = find_training_data(config)
    listen(Note(data.report))
    if (exchange := describe_exchange(data.backlit, data.well_lit)) is not None:
        listen(Note(exchange))
    shown = _choose_shown(config, data)
    if shown.report:
        listen(Note(shown.report))
    if device.type == "cpu" and config.network.size_px > _CPU_SIZE_PX:
        listen(Note(_SLOW))
    guidance_encoder = open_encoder(config.encoder).to(device)
    identity_encoder = (
        guidance_encoder
        if config.identity_encoder_name == config.encoder
        else open_encoder(config.identity_encoder_name).to(device)
    )
    names = dict.fromkeys([config.encoder, config.identity_encoder_name])
    listen(Note(f"guided by {' and, for the identity loss, '.join(names)}"))
    for encoder in {guidance_encoder, identity_encoder}:
        encoder.preprocessing = replace(encoder.preprocessing, squash_by=config.network.squash_by)
    if identity_scale is None:
        identity_scale = measure_identity_scale(identity_encoder, data.well_lit, device)
    guidance = build_guidance(config, data, guidance_encoder, device, listen)
    guidance_encoder.text = identity_encoder.text = None  # hundreds of MiB that no step needs
    views: tuple[Sequence[Picture], Sequence[Picture]] = ((), ())
    if isinstance(config.options, PairOptions):
        side = config.options.view_size_px
        views = (load_squares(data.backlit, side), load_squares(data.well_lit, side))
    truth = data.well_lit if config.network.pixel_loss else None
    return Ingredients(
        data=data,
        pictures=TrainingPictures(data.backlit, truth, config.network.size_px, config.seed),
        guidance_encoder=guidance_encoder,
        identity_encoder=identity_encoder,
        guidance=guidance,
        views=views,
        identity_scale=identity_scale,
        shown=shown,
        made_of={
            "identity_scale": identity_scale,
            "backlit_pictures": len(data.backlit),
            "well_lit_pictures": len(data.well_lit),
            "paired": data.paired,
            "backlit_hash": hash_set(data.backlit),
            "well_lit_hash": hash_set(data.well_lit),
            "guidance_encoder_hash": guidance_encoder.fingerprint(),
            "identity_encoder_hash": identity_encoder.fingerprint(),
        },
    )


def find_training_data(config: RunConfig) -> TrainingData:
    """Finds the pictures of a run, and pairs them where the config asks for it or the names allow it.

    Raises:
        DataError: a folder is missing or empty, or pairs are needed and not found.
    """
    backlit = find_photographs(Path(config.data.backlit), "backlit")
    well_lit = find_photographs(Path(config.data.well_lit), "well-lit")
    lines = [*backlit.describe_skipped(), *well_lit.describe_skipped()]
    must_pair = config.data.paired is True or config.network.pixel_loss > 0
    if must_pair:
        otherwise = "" if config.network.pixel_loss else ", or train --unpaired"
        pairing = require_pairs(backlit.photographs, well_lit.photographs, otherwise)
    elif config.data.paired is None:
        pairing = match_pairs(backlit.photographs, well_lit.photographs)
    if config.data.paired is not False and (
        must_pair or 2 * len(pairing.pairs) >= max(len(backlit.photographs), 4)
    ):
        lines.append(pairing.describe())
        pairing, about_shapes = _check_shapes(pairing, config.network.pixel_loss > 0)
        lines += about_shapes
        left, right = zip(*pairing.pairs, strict=True)
        return TrainingData(left, right, True, "\n".join(lines))
    lines.append(
        f"unpaired: {len(backlit.photographs)} backlit and {len(well_lit.photographs)} well-lit photographs"
    )
    return TrainingData(backlit.photographs, well_lit.photographs, False, "\n".join(lines))


def _check_shapes(pairing: Pairing, compares: bool) -> tuple[Pairing, list[str]]:
    """Finds pairs whose pictures differ in shape, which a pixel loss must not compare.

    Args:
        pairing: the pairs of a run.
        compares: whether the run compares partners; it then leaves such pairs out, else it keeps them.

    Returns:
        The pairs to train on, and lines about those that differ.

    Raises:
        DataError: too few pairs are left.
    """
    if compares:
        return require_one_shape(pairing)
    _, lines = leave_out_other_shapes(pairing)
    if not lines:
        return pairing, []
    first = lines[0].removeprefix("skipped ")
    pairs = "1 pair differs" if len(lines) == 1 else f"{len(lines)} pairs differ"
    return pairing, [f"{pairs} in shape, which only --pixel-loss would mind ({first})"]


@torch.no_grad()
def measure_identity_scale(
    encoder: Encoder, photographs: Sequence[Photograph], device: torch.device
) -> float:
    """Measures the factor that brings an encoder's identity loss to the scale of CLIP RN101's, the published.

    Encoders differ a thousandfold in how large their features are. The measure is the identity loss between
    the first few pictures of the set and their versions at half the brightness. The factor is rounded to
    three digits, so that a run resumed on another machine goes on with the same one.

    Args:
        encoder: the encoder of the identity loss, on `device`.
        photographs: the set, of which the first `SCALE_PICTURES` are used.
        device: where to compute.
    """
    if is_published_identity(encoder.spec):
        return 1.0
    side = encoder.preprocessing.size_px
    pictures = _stack(photographs[:SCALE_PICTURES], side).to(device)
    whole, halved = encoder.stages(pictures), encoder.stages(pictures / 2)
    cost = float(identity_loss(whole, halved, stage_weights(len(whole), warm_up=True)))
    return float(f"{PUBLISHED_COST_OF_HALVING / max(cost, 1e-12):.3g}")


def build_guidance(
    config: RunConfig, data: TrainingData, encoder: Encoder, device: torch.device, listen: Listener
) -> Guidance:
    """Builds the method's guidance as it is before its first step, on the CPU.

    Raises:
        EncoderError: the encoder lacks the text side that the method needs.
        DataError: both sets look the same to the encoder.
    """
    need = need_of_text(config.options)
    if isinstance(config.options, ClipLitOptions) and need is not None:
        return PromptGuidance(encoder.require_text(*need))
    if isinstance(config.options, ClipLitLatentOptions):
        return LatentGuidance(encoder.dimension(), config.seed)
    if not isinstance(config.options, RaveOptions):
        raise TypeError(f"no guidance is built here for {type(config.options).__name__}")
    if need is not None:
        encoder.require_text(*need)

    def report(what: str, done: int, total: int) -> None:
        listen(Work(what, done, total))

    cache = default_cache() if config.cache is None else Path(config.cache)
    backlit, well_lit = (
        embed_photographs(encoder, photographs, cache, device, report=report)
        for photographs in (data.backlit, data.well_lit)
    )
    vocabulary = embed_vocabulary(encoder, cache, report) if config.options.shift_tokens else None
    return guide_by_residual(config.options, backlit, well_lit, encoder, vocabulary)


def _choose_shown(config: RunConfig, data: TrainingData) -> ShownPictures:
    """All validation pictures, or a few of the training pictures."""
    size = config.network.size_px
    if config.data.validation_backlit is None or config.data.validation_well_lit is None:
        backlit, truth = data.backlit[:GRID_ROWS], data.well_lit[:GRID_ROWS] if data.paired else None
        return ShownPictures(_stack(backlit, size), None if truth is None else _stack(truth, size), False)
    backlit_set = find_photographs(Path(config.data.validation_backlit), "backlit", "test")
    well_lit_set = find_photographs(Path(config.data.validation_well_lit), "well-lit", "test")
    found = require_pairs(backlit_set.photographs, well_lit_set.photographs)
    held_out, about_shapes = require_one_shape(found)
    left_out = [*backlit_set.describe_skipped(), *well_lit_set.describe_skipped()]
    left_out += [*found.describe().splitlines()[1:], *about_shapes]
    training_hashes = {photograph.content_hash for photograph in data.backlit}
    leaked = [pair[0].file.name for pair in held_out.pairs if pair[0].content_hash in training_hashes]
    if leaked:
        raise DataError(
            f"{leaked[0]} is both a training and a validation picture ({len(leaked)} such): "
            "validate on other pictures"
        )
    left, right = zip(*held_out.pairs, strict=True)
    report = "\n".join(f"validation: {line}" for line in left_out)
    return ShownPictures(_stack(left, size), _stack(right, size), True, report)


def _stack(photographs: Sequence[Photograph], size_px: int) -> Tensor:
    return torch.stack([to_tensor(load_square(photograph.file, size_px)) for photograph in photographs])
