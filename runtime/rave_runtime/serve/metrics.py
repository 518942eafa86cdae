"""Counts what a running service does, and writes it in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """A histogram of times: how many are at most each of `_BOUNDS_S`, and their sum in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Counts one more time."""
        self._counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        """Yields the histogram's lines in the text format."""
        total = 0
        for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            yield f"{name}_bucket{_braces((*labels, ('le', bound)))} {total}"
        yield f"{name}_sum{_braces(labels)} {self._sum:.6f}"
        yield f"{name}_count{_braces(labels)} {total}"


class Metrics:
    """Counts since the start of the service. Only the event loop's thread may use it.

    Args:
        gauges: by name, each gauge's meaning and the function that returns its current value.
        facts: the labels of `rave_info`, such as the version.
    """

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]], facts: Labels) -> None:
        self._gauges = gauges
        self._facts = facts
        self._requests: dict[Labels, int] = defaultdict(int)
        self._bytes: dict[Labels, int] = defaultdict(int)
        self._stages: dict[Labels, Histogram] = defaultdict(Histogram)
        self._seconds: dict[Labels, Histogram] = defaultdict(Histogram)
        self._photographs = 0
        self._pixels = 0

    def count_request(self, route: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """Counts an answered request; the route is one of the service's paths, or "other"."""
        self._requests[(("route", route), ("status", str(status)))] += 1
        self._seconds[(("route", route),)].add(seconds)
        self._bytes[(("direction", "in"),)] += bytes_in
        self._bytes[(("direction", "out"),)] += bytes_out

    def count_photograph(self, width_px: int, height_px: int) -> None:
        """Counts an enhanced photograph."""
        self._photographs += 1
        self._pixels += width_px * height_px

    def add_stage(self, stage: str, seconds: float) -> None:
        """Counts the time of a stage: queue, read, enhance or write."""
        self._stages[(("stage", stage),)].add(seconds)

    def text(self) -> str:
        """Returns all metrics in the text format."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        """Yields the lines of Prometheus's text format."""
        yield from _head("rave_info", "gauge", "What runs.")
        yield f"rave_info{_braces(self._facts)} 1"
        for name, meaning, values in (
            ("rave_requests_total", "Requests that were answered.", self._requests),
            ("rave_bytes_total", "Bytes of bodies.", self._bytes),
        ):
            yield from _head(name, "counter", meaning)
            yield from (f"{name}{_braces(labels)} {value}" for labels, value in sorted(values.items()))
        yield from _head("rave_photographs_total", "counter", "Photographs that were enhanced.")
        yield f"rave_photographs_total {self._photographs}"
        yield from _head("rave_pixels_total", "counter", "Pixels of those photographs.")
        yield f"rave_pixels_total {self._pixels}"
        for name, meaning, histograms in (
            ("rave_request_seconds", "Time of requests.", self._seconds),
            ("rave_stage_seconds", "Time of the stages of a photograph.", self._stages),
        ):
            yield from _head(name, "histogram", meaning)
            for labels, histogram in sorted(histograms.items(), key=lambda item: item[0]):
                yield from histogram.lines(name, labels)
        for name, (meaning, value_of) in self._gauges.items():
            yield from _head(name, "gauge", meaning)
            yield f"{name} {value_of():.0f}"


def resident_bytes() -> float:
    """Returns this process's memory in RAM, in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _braces(labels: Labels) -> str:
    def escape(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in labels) + "}" if labels else ""
