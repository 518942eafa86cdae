"""Medians and spreads of repeated measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Statistics of repeated measurements, in their unit.

    Attributes:
        median: the middle.
        low, high: first and third quartile: half of the measurements lie between.
        least: the smallest.
        count: how many there were.
    """

    median: float
    low: float
    high: float
    least: float
    count: int


def summarize(samples: Sequence[float]) -> Summary:
    """Median and quartiles (interpolated between neighbours).

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("there is nothing to summarize: at least one sample is needed")
    if len(samples) == 1:
        only = float(samples[0])
        return Summary(only, only, only, only, 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Summary(median, low, high, min(samples), len(samples))


def paired_ratio(samples: Sequence[float], reference: Sequence[float]) -> float | None:
    """The median of `samples[i] / reference[i]`, which stays the same when the machine's speed drifts.

    Measurements taken in the same round share an index; the longer list's tail is left out. None where
    either is empty.
    """
    ratios = [a / b for a, b in zip(samples, reference, strict=False) if b > 0]
    return statistics.median(ratios) if ratios else None
