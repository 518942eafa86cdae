"""Counts what a method must compute for a picture, once per size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.counting import Count, count_network
from benchmarks.contestants.enhancers import Setting
from benchmarks.contestants.methods import Method, find_method
from benchmarks.processes.worker import resolve
from rave_runtime import BundleError
from rave_runtime.bundle import Manifest, embedded_bundle, read_bundle


def cost_of(method: Method, setting: Setting, height: int, width: int, batch: int = 1) -> Count | None:
    """Parameters, multiply-accumulates and traffic of a method; None for methods without a network.

    For our runtime, the bundle's network is counted at the size on which it estimates the light, without the
    halos of its tiles. For diffusion, all steps are counted.

    Args:
        method: the method.
        setting: how it runs.
        height: height of the picture in pixels.
        width: width of the picture in pixels.
        batch: pictures at once.
    """
    if method.kind == "array":
        return None
    if method.kind == "network":
        return _count(method.name, height, width, batch)
    manifest = _read_manifest(setting.weights)
    channels = 32 if manifest is None else manifest.network.channels
    height, width = reduced_shape(height, width, working_size_px(method, setting))
    return _count("ours-torch", height, width, batch, channels)


def working_size_px(method: Method, setting: Setting) -> int | None:
    """Long side on which our runtime estimates the light; None is full resolution."""
    size = method.arguments.get("working_size", "recommended")
    if setting.working_size != "method":
        size = setting.working_size
    if size != "recommended":
        return None if size is None else int(size)
    manifest = _read_manifest(setting.weights)
    return None if manifest is None else manifest.working_size_px


def reduced_shape(height: int, width: int, long_side: int | None) -> tuple[int, int]:
    """Height and width after a reduction to a long side, in proportion; smaller shapes stay as they are."""
    if long_side is None or long_side >= max(height, width):
        return height, width
    scale = long_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


@functools.cache
def _count(name: str, height: int, width: int, batch: int, channels: int | None = None) -> Count:
    """Counts a method's parameters and operations; one step of a diffusion is counted and multiplied."""
    method = find_method(name)
    build: Callable[..., Any] = resolve(method.entry)
    multiple = build.multiple_px  # type: ignore[attr-defined]
    height, width = height + -height % multiple, width + -width % multiple
    arguments = {**method.arguments, **({} if channels is None else {"channels": channels})}

    def count(**changed: Any) -> Count:
        return count_network(lambda: build(**{**arguments, **changed}), height, width, batch)

    if method.sampled is None:
        return count()
    one, two, further = count(samples=1), count(samples=2), method.sampled - 1
    return Count(
        one.parameters,
        one.macs + further * (two.macs - one.macs),
        one.traffic_bytes + further * (two.traffic_bytes - one.traffic_bytes),
    )


@functools.cache
def _read_manifest(bundle: str | None) -> Manifest | None:
    """The bundle's manifest; None if it cannot be read, which running the method will report."""
    try:
        return read_bundle(bundle or embedded_bundle()).manifest
    except BundleError:
        return None
