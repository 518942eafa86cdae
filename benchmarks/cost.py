"""What a method must compute for a picture, counted once per size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarks.counting import Count, count_network
from benchmarks.enhancers import Setting
from benchmarks.methods import Method, find_method
from benchmarks.worker import resolve


def cost_of(method: Method, setting: Setting, height: int, width: int, batch: int = 1) -> Count | None:
    """Parameters, multiply-accumulates and traffic; None for methods without a network.

    Our runtime is charged for the network at the size on which it estimates the light, without the
    halos of its tiles; diffusion for all its steps.
    """
    if method.kind == "array":
        return None
    if method.kind in ("runtime", "command"):
        height, width = _working_shape(method, setting, height, width)
        method = find_method("ours-torch")
    return _count(method.name, height, width, batch)


@functools.cache
def _count(name: str, height: int, width: int, batch: int) -> Count:
    method = find_method(name)
    build: Callable[..., Any] = resolve(method.entry)
    multiple = build.multiple_px  # type: ignore[attr-defined]
    height, width = height + -height % multiple, width + -width % multiple

    def count(**changed: Any) -> Count:
        return count_network(lambda: build(**{**method.arguments, **changed}), height, width, batch)

    if method.sampled is None:
        return count()
    one, two, further = count(samples=1), count(samples=2), method.sampled - 1
    return Count(
        one.parameters,
        one.macs + further * (two.macs - one.macs),
        one.traffic_bytes + further * (two.traffic_bytes - one.traffic_bytes),
    )


def working_size_px(method: Method, setting: Setting) -> int | None:
    """Long side on which our runtime estimates the light; None is full resolution."""
    wanted = method.arguments.get("working_size", "recommended")
    if setting.working_size != "method":
        wanted = setting.working_size
    if wanted != "recommended":
        return None if wanted is None else int(wanted)
    from rave_runtime import BundleError
    from rave_runtime.bundle import embedded_bundle, read_bundle

    try:
        return read_bundle(setting.weights or embedded_bundle()).manifest.working_size_px
    except BundleError:
        return None


def _working_shape(method: Method, setting: Setting, height: int, width: int) -> tuple[int, int]:
    size = working_size_px(method, setting)
    if size is None or size >= max(height, width):
        return height, width
    return max(1, round(height * size / max(height, width))), max(1, round(width * size / max(height, width)))
