"""Medians and spreads of repeated measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Statistics of repeated measurements, in their unit.

    Attributes:
        median: the median.
        low: the first quartile.
        high: the third quartile.
        least: the smallest measurement.
        count: the number of measurements.
    """

    median: float
    low: float
    high: float
    least: float
    count: int


def summarize(samples: Sequence[float]) -> Summary:
    """Computes median and quartiles, interpolated between neighbouring samples.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("there is nothing to summarize: at least one sample is needed")
    if len(samples) == 1:
        only = float(samples[0])
        return Summary(only, only, only, only, 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Summary(median, low, high, min(samples), len(samples))


def paired_ratio(samples: Sequence[float], reference: Sequence[float]) -> float | None:
    """The median of `samples[i] / reference[i]`, which does not change when the machine's speed drifts.

    Measurements taken in the same round have the same index; the end of the longer list is ignored. None if
    either is empty.
    """
    ratios = [a / b for a, b in zip(samples, reference, strict=False) if b > 0]
    return statistics.median(ratios) if ratios else None
