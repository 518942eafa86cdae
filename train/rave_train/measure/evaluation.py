"""Measures pictures, or what checkpoints and bundles make of them, against true ones."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rave_runtime.arrays import Picture
from rave_train.data.pairs import Pairing, require_pairs
from rave_train.data.photographs import find_photographs
from rave_train.errors import ConfigError, DataError, MetricUnavailableError
from rave_train.measure.candidates import Candidate, open_candidate
from rave_train.measure.learned_metrics import (
    INCEPTION_FILE,
    LPIPS_NETS,
    Announce,
    Fid,
    Lpips,
    weights_place,
)
from rave_train.measure.protocol import METRICS, Protocol, ShapesDifferError, with_mean_of
from rave_train.progress import Report
from rave_train.whole_files import write_table, write_whole

_TABLE, _METRICS = "table.csv", "metrics.json"

UNTOUCHED = "input"
"""Name of the row of the unchanged pictures, which stands beside those of checkpoints and bundles."""


@dataclass(frozen=True)
class Measured:
    """The figures of one candidate.

    Attributes:
        name: the name of the checkpoint or bundle, "input" for the pictures as they are.
        rows: per picture its name and its metrics.
        means: over the pictures; FID, which has no rows, included.
    """

    name: str
    rows: tuple[tuple[str, dict[str, float]], ...]
    means: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The result of a measurement.

    Attributes:
        protocol: how the pictures were compared.
        candidates: the figures of each candidate, in the order in which they were asked for.
        missing: by name of each metric that could not be computed, the reason.
        left_out: lines about pictures that were not measured, with the reason.
    """

    protocol: Protocol
    candidates: tuple[Measured, ...]
    missing: dict[str, str]
    left_out: tuple[str, ...] = ()

    @property
    def last(self) -> Measured:
        """The figures of the last candidate, which is the only one where no model was given."""
        return self.candidates[-1]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that were computed."""
        return [name for name in METRICS if any(name in measured.means for measured in self.candidates)]

    def as_text(self) -> str:
        """A table with a row of means per candidate, then the protocol, then what was left out.

        Where nothing could be measured, only the reasons.
        """
        why = [f"{name} not measured: {reason}" for name, reason in self.missing.items()]
        if not self.metrics:
            return "\n".join([*why, *self.left_out])
        width = max(len(measured.name) for measured in self.candidates)
        pictures = f"mean of {len(self.candidates[0].rows)}"
        lines = [pictures.ljust(width) + "".join(f"{name:>10}" for name in self.metrics)]
        for measured in self.candidates:
            cells = (f"{measured.means.get(name, math.nan):10.4f}" for name in self.metrics)
            lines.append(measured.name.ljust(width) + "".join(cells))
        lines.append(self.protocol.describe(self.metrics))
        return "\n".join([*lines, *why, *self.left_out])


def evaluate_folders(
    enhanced: Path,
    truth: Path,
    models: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    protocol: Protocol | None = None,
    inception: Path | None = None,
    report: Report | None = None,
    announce: Announce | None = None,
) -> Evaluation:
    """Measures pictures of one folder against their partners in another.

    Args:
        enhanced: pictures to measure; with `models`, backlit pictures to enhance first.
        truth: their partners.
        models: checkpoints, bundles, or the word "embedded"; the pictures as they are get a row as well.
        metrics: some of `METRICS`; None takes PSNR and SSIM, and those others whose weights are here.
        protocol: how to compare; None is the protocol "ours".
        inception: file of the weights for FID; None looks in torch's cache and downloads.
        report: told of the progress.
        announce: told of every file of weights before it is fetched.

    Raises:
        DataError: the folders do not match, or no two partners have the same aspect ratio.
        CheckpointError, BundleError: a model cannot be read.
        ConfigError: a metric is unknown, or the protocol contradicts itself.
    """
    protocol = protocol or Protocol()
    protocol.check()
    metric_names = _metrics_at_hand(protocol, inception) if metrics is None else metrics
    unknown = [name for name in metric_names if name not in METRICS]
    if unknown or not metric_names:
        raise ConfigError(
            f"{', '.join(unknown) or 'nothing'} is not a metric: choose among {', '.join(METRICS)}"
        )
    as_they_are = Candidate(UNTOUCHED if models else enhanced.name, lambda pixels: pixels)
    candidates = [as_they_are, *(open_candidate(name) for name in models)]
    sides = (
        find_photographs(enhanced, "backlit", "test", least=1),
        find_photographs(truth, "well-lit", "test", least=1),
    )
    pairing = require_pairs(sides[0].photographs, sides[1].photographs, least=1)
    left_out = [line for side in sides for line in side.describe_skipped()]
    if pairing.backlit_alone or pairing.well_lit_alone:
        left_out += pairing.describe().splitlines()[1:]
    missing: dict[str, str] = {}
    lpips, fids = _open_learned(protocol, metric_names, inception, len(candidates), missing, announce)
    rows, skipped = _measure_pairs(pairing, candidates, protocol, metric_names, lpips, fids, report)
    left_out += skipped
    if not rows[0]:
        raise DataError("\n".join(["no pair can be compared", *left_out]))
    if fids and len(rows[0]) < 2:
        fids, missing["fid"] = [], "it compares sets: at least 2 pairs are needed"
    measured = []
    for index, candidate in enumerate(candidates):
        names = [name for name in METRICS if name in rows[index][0][1]]
        means: dict[str, float] = {
            name: float(np.mean([values[name] for _, values in rows[index]])) for name in names
        }
        if fids:
            means["fid"] = fids[index].distance()
        measured.append(Measured(candidate.name, tuple(rows[index]), means))
    return Evaluation(protocol, tuple(measured), missing, tuple(left_out))


def prepare_folder(folder: Path, force: bool = False) -> None:
    """Makes the folder for an evaluation's files, before hours of measuring.

    Args:
        folder: the folder, which need not exist yet.
        force: replace the evaluation that it holds.

    Raises:
        DataError: `folder` is a file, cannot be made, or holds an evaluation that is not to be replaced.
    """
    if folder.is_file():
        raise DataError(f"{folder} is a file: give a folder that --out can write into")
    if not force and any((folder / name).exists() for name in (_TABLE, _METRICS)):
        raise DataError(f"{folder} holds an evaluation already: give another --out, or --force to replace it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}): give another --out") from error


def write_evaluation(result: Evaluation, folder: Path) -> None:
    """Writes table.csv (a row per candidate and picture, then the means) and metrics.json (the same).

    Raises:
        OSError: a file cannot be written.
    """
    names = result.metrics
    table = [["candidate", "picture", *names]]
    for measured in result.candidates:
        for title, values in (*measured.rows, ("mean", measured.means)):
            cells = (f"{values[name]:.6f}" if name in values else "" for name in names)
            table.append([measured.name, title, *cells])
    write_table(folder / _TABLE, table)
    content = {
        "protocol": {**dataclasses.asdict(result.protocol), "description": result.protocol.describe(names)},
        "candidates": {
            measured.name: {"means": measured.means, "pictures": dict(measured.rows)}
            for measured in result.candidates
        },
        "missing": result.missing,
        "left_out": result.left_out,
    }
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    write_whole(folder / _METRICS, text + "\n")


def _metrics_at_hand(protocol: Protocol, inception: Path | None) -> list[str]:
    """PSNR and SSIM, and the metrics whose weights need not be fetched."""
    lpips = LPIPS_NETS.get(protocol.lpips_net)
    metrics = ["psnr", "ssim"]
    if lpips is None or weights_place(lpips).is_file():
        metrics.append("lpips")
    if inception is not None or weights_place(INCEPTION_FILE).is_file():
        metrics.append("fid")
    return metrics


def _open_learned(
    protocol: Protocol, metrics: Sequence[str], inception: Path | None, count: int,
    missing: dict[str, str], announce: Announce | None,
) -> tuple[Lpips | None, list[Fid]]:  # fmt: skip
    """Opens LPIPS, and FID once per candidate, and adds the reasons to `missing` where that is impossible."""
    lpips, fids = None, []
    try:
        lpips = Lpips(protocol.lpips_net, announce) if "lpips" in metrics else None
    except MetricUnavailableError as error:
        missing["lpips"] = str(error)
    try:
        fids = [Fid(inception, announce) for _ in range(count)] if "fid" in metrics else []
    except MetricUnavailableError as error:
        missing["fid"] = str(error)
    return lpips, fids


def _measure_pairs(
    pairing: Pairing, candidates: Sequence[Candidate], protocol: Protocol, metrics: Sequence[str],
    lpips: Lpips | None, fids: Sequence[Fid], report: Report | None,
) -> tuple[list[list[tuple[str, dict[str, float]]]], list[str]]:  # fmt: skip
    """Measures all pairs, one at a time; returns rows per candidate, and lines about pairs left out."""
    rows: list[list[tuple[str, dict[str, float]]]] = [[] for _ in candidates]
    skipped = []
    for done, (left, right) in enumerate(pairing.pairs, 1):
        try:
            picture, true = protocol.load(left.file, right.file)
        except ShapesDifferError as error:
            skipped.append(f"skipped {left.file}: {error}")
            continue
        for index, candidate in enumerate(candidates):
            result = _finish(candidate.enhance(picture), true, protocol)
            values = protocol.measure(result, true, metrics)
            if lpips is not None:
                values["lpips"] = lpips.of_normalised(protocol.for_lpips(result), protocol.for_lpips(true))
            if fids:
                fids[index].add(result, true)
            rows[index].append((left.file.name, values))
        if report is not None:
            report("measuring", done, len(pairing.pairs))
    return rows, skipped


def _finish(result: Picture, true: Picture, protocol: Protocol) -> Picture:
    """An enhanced picture as the protocol compares it: scaled to the truth's mean if that is asked for."""
    return with_mean_of(result, true) if protocol.gt_mean else result


def _finite(value: Any) -> Any:
    """Replaces infinity and NaN in nested values by None, since JSON has neither."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
