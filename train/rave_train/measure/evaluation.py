"""Measuring enhanced pictures against true ones, or a checkpoint over pairs, by a stated protocol."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rave_train.data.batches import to_tensor
from rave_train.data.pairs import require_pairs
from rave_train.data.photographs import Pixels, find_photographs, load_photograph, load_square
from rave_train.errors import ConfigError, DataError, MetricUnavailableError
from rave_train.measure.metrics import LUMA_BT601, Fid, Lpips, psnr, ssim
from rave_train.network import EnhancementNetwork, relight
from rave_train.progress import Report
from rave_train.writing import write_table, write_whole

METRICS: Final = ("psnr", "ssim", "lpips", "fid")
SMALLEST_COMPARED_PX: Final = 16
"""SSIM's window has 11 pixels."""

_SHAPE_TOLERANCE: Final = 0.02
"""By how much aspect ratios may differ, beside one pixel: networks round sides to their stride."""


@dataclass(frozen=True)
class Protocol:
    """How pictures are compared; numbers of different protocols do not compare.

    Attributes:
        gray: PSNR and SSIM on grey pictures (BT.601, rounded to 8 bits), as upstream's script; else
            on all three channels.
        size_px: both pictures squashed to a square of this side; None compares at the truth's size,
            to which an enhanced picture of another size is resized. One of another shape (aspect ratio) is
            left out: stretched, it would measure the stretching.
        gt_mean: the enhanced picture scaled so that its mean grey equals the truth's, as some papers
            do; it hides errors of exposure.
        lpips_net: backbone of LPIPS.
    """

    gray: bool = False
    size_px: int | None = None
    gt_mean: bool = False
    lpips_net: str = "alex"

    def describe(self) -> str:
        """One line."""
        size = "at the truth's size" if self.size_px is None else f"squashed to {self.size_px}x{self.size_px}"
        color = "on grey (upstream's)" if self.gray else "on full colour"
        mean = "scaled to the truth's mean" if self.gt_mean else "no GT-mean"
        return f"PSNR and SSIM {color}, LPIPS ({self.lpips_net}), {size}, {mean}"


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        protocol: how.
        rows: per picture its name and its metrics.
        means: over the pictures; FID, which has no rows, included.
        missing: metrics that could not be computed, and why.
        left_out: pictures that were not measured, and why; lines.
    """

    protocol: Protocol
    rows: tuple[tuple[str, dict[str, float]], ...]
    means: dict[str, float]
    missing: dict[str, str]
    left_out: tuple[str, ...] = ()

    def as_text(self) -> str:
        """A table, the protocol under it."""
        names = [name for name in METRICS if name in self.means]
        widths = max(len(row[0]) for row in (*self.rows, ("mean", {})))
        lines = ["".ljust(widths) + "".join(f"{name:>10}" for name in names)]
        for title, values in (*self.rows, (f"mean of {len(self.rows)}", self.means)):
            cells = (f"{values[name]:10.4f}" if name in values else " " * 10 for name in names)
            lines.append(title.ljust(widths) + "".join(cells))
        lines.append(self.protocol.describe())
        lines += [f"{name} not measured: {reason}" for name, reason in self.missing.items()]
        lines += self.left_out
        return "\n".join(lines)


def evaluate_folders(
    enhanced: Path,
    truth: Path,
    checkpoint: Path | None = None,
    metrics: Sequence[str] = METRICS,
    protocol: Protocol | None = None,
    inception: Path | None = None,
    report: Report | None = None,
) -> Evaluation:
    """Measures pictures of one folder against their partners in another.

    Args:
        enhanced: pictures to measure; with `checkpoint`, backlit pictures to enhance first.
        truth: their partners.
        checkpoint: an enhancement network, run at the size of the comparison.
        metrics: some of `METRICS`.
        protocol: how to compare.
        inception: weights for FID.
        report: told of the progress.

    Raises:
        DataError: the folders do not match, or no two pictures have the same aspect ratio.
        CheckpointError: the checkpoint cannot be read.
        ConfigError: a metric or LPIPS's network is unknown, or the size is too small.
    """
    protocol = protocol or Protocol()
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ConfigError(f"{', '.join(unknown) or 'nothing'} is no metric: {', '.join(METRICS)} are")
    network = None
    if checkpoint is not None:
        from rave_train.checkpoint import load_checkpoint

        network = load_checkpoint(checkpoint)
    if protocol.size_px is not None and protocol.size_px < SMALLEST_COMPARED_PX:
        raise ConfigError(f"size is {protocol.size_px} px, at least {SMALLEST_COMPARED_PX} are needed")
    sides = find_photographs(enhanced, "backlit", "test"), find_photographs(truth, "well-lit", "test")
    pairing = require_pairs(sides[0].photographs, sides[1].photographs)
    left_out = [line for side in sides for line in side.describe_skipped()]
    if pairing.backlit_alone or pairing.well_lit_alone:
        left_out += pairing.describe().splitlines()[1:]
    missing: dict[str, str] = {}
    lpips = fid = None
    try:
        lpips = Lpips(protocol.lpips_net) if "lpips" in metrics else None
    except MetricUnavailableError as error:
        missing["lpips"] = str(error)
    try:
        fid = Fid(inception) if "fid" in metrics else None
    except MetricUnavailableError as error:
        missing["fid"] = str(error)
    rows, kept = [], []
    for index, (left, right) in enumerate(pairing.pairs):
        try:
            picture, true = _load_pair(left.file, right.file, protocol, network)
        except _ShapesDifferError as error:
            left_out.append(f"skipped {left.file}: {error}")
            continue
        values = _measure(picture, true, protocol, metrics)
        if lpips is not None:
            values["lpips"] = lpips(to_tensor(picture), to_tensor(true))
        rows.append((left.file.name, values))
        if fid is not None:
            kept.append((picture, true))
        if report is not None:
            report("measuring", index + 1, len(pairing.pairs))
    if not rows:
        raise DataError("\n".join(["no pair can be compared", *left_out]))
    means: dict[str, float] = {
        name: float(np.mean([values[name] for _, values in rows])) for name in METRICS if name in rows[0][1]
    }
    if fid is not None:
        means["fid"] = fid([pair[0] for pair in kept], [pair[1] for pair in kept])
    return Evaluation(protocol, tuple(rows), means, missing, tuple(left_out))


def write_evaluation(result: Evaluation, folder: Path) -> None:
    """Writes table.csv (a row per picture, then the means) and metrics.json (the same, and the protocol)."""
    if folder.is_file():
        raise DataError(f"{folder} is a file: a folder is needed")
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in METRICS if name in result.means]
    rows = [
        [title, *(f"{values[name]:.6f}" if name in values else "" for name in names)]
        for title, values in (*result.rows, ("mean", result.means))
    ]
    write_table(folder / "table.csv", [["picture", *names], *rows])
    content = {
        "protocol": {**dataclasses.asdict(result.protocol), "description": result.protocol.describe()},
        "means": result.means,
        "pictures": dict(result.rows),
        "missing": result.missing,
        "left_out": result.left_out,
    }
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    write_whole(folder / "metrics.json", text + "\n")


def _finite(value: Any) -> Any:
    """JSON knows no infinity, which is the PSNR of equal pictures: it becomes null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _ShapesDifferError(Exception):
    """Two pictures of different aspect ratio."""


def _measure(picture: Pixels, true: Pixels, protocol: Protocol, metrics: Sequence[str]) -> dict[str, float]:
    left, right = (_gray(p) if protocol.gray else to_tensor(p) for p in (picture, true))
    values = {}
    if "psnr" in metrics:
        values["psnr"] = psnr(left, right)
    if "ssim" in metrics:
        values["ssim"] = ssim(left, right)
    return values


def _load_pair(
    left: Path, right: Path, protocol: Protocol, network: EnhancementNetwork | None
) -> tuple[Pixels, Pixels]:
    if protocol.size_px is not None:
        picture, true = load_square(left, protocol.size_px), load_square(right, protocol.size_px)
    else:
        picture, true = load_photograph(left), load_photograph(right)
        if picture.shape != true.shape:
            ratio = picture.shape[1] * true.shape[0] / (picture.shape[0] * true.shape[1])
            rounding = 1 / min(*picture.shape[:2], *true.shape[:2])
            if abs(math.log(ratio)) > _SHAPE_TOLERANCE + rounding:
                raise _ShapesDifferError(
                    f"{picture.shape[1]}x{picture.shape[0]} pixels cannot be compared with {right}, "
                    f"{true.shape[1]}x{true.shape[0]}"
                )
            size = (true.shape[1], true.shape[0])
            picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    if network is not None:
        picture = enhance_pixels(network, picture)
    if protocol.gt_mean:
        picture = with_mean_of(picture, true)
    return picture, true


def with_mean_of(picture: Pixels, true: Pixels) -> Pixels:
    """The picture scaled so that its mean grey is the true one's, [h, w, 3] uint8 each."""
    gain = float(_gray(true).mean()) / max(float(_gray(picture).mean()), 1e-6)
    return (picture.astype(np.float32) * gain + 0.5).clip(0, 255).astype(np.uint8)


@torch.no_grad()
def enhance_pixels(network: EnhancementNetwork, pixels: Pixels) -> Pixels:
    """A picture enhanced whole, [h, w, 3] uint8 -> the same."""
    image = to_tensor(pixels)[None].contiguous(memory_format=torch.channels_last)
    result = relight(image, network(image))[0]
    return (result.permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).numpy()


def _gray(pixels: Pixels) -> Tensor:
    """[h, w, 3] uint8 -> [1, h, w] float32 in [0, 1], rounded to 8 bits as a grey file would be."""
    levels = np.rint(pixels.astype(np.float64) @ np.array(LUMA_BT601))
    return torch.from_numpy(levels[None].astype(np.float32) / 255)
