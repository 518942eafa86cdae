"""Measures what each command asks for, in full or in a quick run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants.cost import cost_of
from benchmarks.contestants.enhancers import Setting, load_enhancer
from benchmarks.contestants.methods import METHODS, find_method
from benchmarks.processes.memory import available_mib
from benchmarks.processes.turns import Plan
from benchmarks.suites.contest import (
    Contestant,
    Row,
    Say,
    Size,
    choose_contestants,
    run_contest,
    runtime_devices,
)
from rave_runtime.bundle.opening import open_bundle

FULL_SIZES = (
    Size(256, 256),
    Size(512, 512),
    Size(1024, 1024),
    Size(1500, 2000),
    Size(3000, 4000),
    Size(6144, 8192),
)
QUICK_SIZES = (Size(128, 128), Size(512, 512))
MEMORY_SIZES = (Size(256, 256), Size(1024, 1024), Size(3000, 4000), Size(6144, 8192))
TILES_PX = (128, 256, 512, 1024, None)
MEMORY_SHARE = 0.7
"""Share of the memory that is free at the start to which a program may grow."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        quick: whether to measure few sizes with few repetitions.
        device: "cpu" or "cuda".
        threads: how many threads compute on the processor.
        bundle: folder of the runtime's model; None is the embedded one.
        names: names of methods; empty is all.
        memory_cap_mib: resident memory at which a program is stopped; None is 70 % of what is free.
        sizes: the sizes to use in place of the command's own; empty keeps those.
        weights: weights of single methods, as `parse_weights` returns them.
        load: load average of the last minute at the start; above about 1, other programs distort the figures.
        say: called with a line on what happens.
    """

    quick: bool = False
    device: str = "cpu"
    threads: int = 1
    bundle: str | None = None
    names: tuple[str, ...] = ()
    memory_cap_mib: float | None = None
    sizes: tuple[Size, ...] = ()
    weights: tuple[tuple[str, str], ...] = ()
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    say: Say = lambda _: None

    def plan(self) -> Plan:
        """How much to measure."""
        cap_mib = self.memory_cap_mib or MEMORY_SHARE * available_mib()
        gpu = self.device == "cuda"
        if self.quick:
            return Plan(rounds=3, cap_s=4, round_s=1, memory_cap_mib=cap_mib, gpu=gpu)
        return Plan(rounds=5, cap_s=45, round_s=5, memory_cap_mib=cap_mib, gpu=gpu)

    def contestants(self, names: Sequence[str] = ()) -> list[Contestant]:
        """The methods that were asked for, limited to the given names if there are any.

        Raises:
            ValueError: an unknown name was asked for.
        """
        asked = [find_method(name).name for name in self.names]
        offered = names or asked or [name for name, method in METHODS.items() if not method.quality_only]
        chosen = [name for name in offered if not asked or name in asked]
        return choose_contestants(chosen, self.device, self.threads, self.bundle, not self.quick)


def measure_latency(request: Request) -> list[Row]:
    """Measures the time of every method over sizes, in turns."""
    sizes = request.sizes or (QUICK_SIZES if request.quick else FULL_SIZES)
    return run_contest(request.contestants(), sizes, request.plan(), request.say)


def measure_memory(request: Request) -> list[Row]:
    """Measures the memory of one cold run of every method over sizes, each without the others."""
    sizes = request.sizes or (QUICK_SIZES if request.quick else MEMORY_SIZES)
    plan = replace(request.plan(), rounds=0)
    return run_contest(request.contestants(), sizes, plan, request.say, alone=True)


def measure_scale(request: Request) -> list[Row]:
    """Measures our network and the fastest baseline over batch sizes and numbers of threads."""
    height, width = (128, 128) if request.quick else (256, 256)
    batches = (1, 4) if request.quick else (1, 2, 4, 8, 16)
    names = ("ours", "zero-dce++") if request.quick else ("ours", "ours-torch", "zero-dce++")
    contestants = request.contestants(names)
    sizes = request.sizes or tuple(Size(height, width, batch) for batch in batches)
    rows = run_contest(contestants, sizes, request.plan(), request.say)
    counts = [n for n in (1, 2, 4, 8, 16, 32) if n < request.threads]
    if request.quick or request.device == "cuda" or not counts:
        return rows
    one = request.sizes or (Size(512, 512),)
    threaded = [
        replace(c, setting=replace(c.setting, threads=n))
        for c in contestants
        for n in [*counts, request.threads]
    ]
    return rows + run_contest(threaded, one, request.plan(), request.say)


def measure_tiling(request: Request) -> list[Row]:
    """Measures time, memory and error (against no tiles) of our runtime at full resolution by tile size."""
    small, large = (Size(140, 180), Size(384, 512)) if request.quick else (Size(600, 800), Size(1500, 2000))
    sizes = request.sizes or (large,)
    method = METHODS["ours-full"]
    devices = runtime_devices(request.device)[:1]
    tiles = TILES_PX[1:] if not request.quick else TILES_PX[:2] + TILES_PX[-1:]
    contestants = [
        Contestant(method, Setting("fp32", device, request.threads, request.bundle, tile_size=tile))
        for device in devices
        for tile in tiles
    ]
    rows = run_contest(contestants, sizes, request.plan(), request.say)
    errors = {c.setting.tile_size: tile_error(c.setting, small) for c in contestants}
    return [{**row, "error_at": str(small), **errors[row["tile_size"]]} for row in rows]


def tile_error(setting: Setting, size: Size) -> dict[str, Any]:
    """The largest difference between tiles and no tiles, of the light map and of the 8-bit picture."""
    from benchmarks.contestants.programs import make_photographs
    from rave_runtime import Enhancer, RaveError

    photograph = make_photographs(size.height, size.width)[0]
    results = []
    try:
        for tile in (setting.tile_size, None):
            enhancer = Enhancer(
                setting.weights,
                precision=setting.precision,
                device=setting.device,
                working_size=None,
                tile_size=tile,
                threads=setting.threads,
            )
            results.append((enhancer.illumination(photograph), enhancer.enhance(photograph)))
    except RaveError as error:
        return {"light_error": None, "picture_error": None, "detail": str(error)}
    (light, picture), (whole_light, whole_picture) = results
    return {
        "light_error": float(np.abs(light - whole_light).max()),
        "picture_error": int(np.abs(picture.astype(int) - whole_picture).max()),
    }


def measure_roofline(request: Request, rows: Sequence[Row] = ()) -> list[Row]:
    """Measures the share of the machine's limit that every network reaches at one size.

    Args:
        request: what to measure.
        rows: rows of a latency run to use instead of measuring the times again.
    """
    from benchmarks.suites.roofline import add_shares, measure_copy_rate, measure_product_rates

    size = request.sizes[0] if request.sizes else Size(512, 512)
    names = ["ours", "ours-full", "ours-torch"]
    names += [] if request.quick else ["diffir", "restormer", "retinexformer", "enlightengan"]
    side, mib = (1024, 64) if request.quick else (2048, 256)
    request.say("matrix product and copy rates")
    product_rates = measure_product_rates(request.device, request.threads, side)
    copy_rate = measure_copy_rate(request.device, request.threads, mib)
    contestants = request.contestants(names)
    if rows:
        names_here = {c.method.name for c in contestants}
        shape = (size.height, size.width)
        rows = [r for r in rows if (r["height"], r["width"]) == shape and r["method"] in names_here]
    else:
        rows = run_contest(contestants, (size,), request.plan(), request.say)

    def traffic(row: Row) -> float | None:
        setting = next(
            c.setting
            for c in contestants
            if (c.method.name, c.setting.device, c.setting.precision)
            == (row["method"], row["device"], row["precision"])
        )
        cost = cost_of(find_method(row["method"]), setting, row["height"], row["width"], row["batch"])
        width = {"fp32": 1.0, "auto": 1.0, "int8": 0.25}.get(row["precision"], 0.5)
        return cost.traffic_bytes * width if cost else None

    return add_shares(rows, traffic, product_rates, copy_rate)


def parse_weights(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Parses METHOD=FILE; the file is a bundle for the runtime, and a method may occur several times.

    Raises:
        ValueError: a text is written otherwise, its method is unknown, or there is no such file.
        BundleError: a method of the runtime was given something else than a bundle.
    """
    weights = []
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals:
            raise ValueError(f"--weights must be METHOD=FILE, got {text}")
        method = find_method(name)
        if not Path(file).exists():
            raise ValueError(f"{file} does not exist: weights of {method.title} are needed")
        if method.kind == "runtime":
            open_bundle(file)
        weights.append((name, file))
    return weights


def measure_quality_of(
    request: Request,
    photographs: Path,
    truths: Path,
    weights: Sequence[tuple[str, str]] = (),
    limit: int | None = None,
) -> list[Row]:
    """Measures the quality of the unchanged picture and of every method that has weights or needs none.

    Args:
        request: methods and device.
        photographs: folder of backlit photographs.
        truths: folder of their truths, with the same stems.
        weights: what `parse_weights` returns.
        limit: most pairs; None is 4 in a quick run, else 24.

    Raises:
        ValueError: there are no pairs.
    """
    from benchmarks.suites.quality import find_pairs, load_lpips, measure_quality

    pairs = find_pairs(photographs, truths, limit or (4 if request.quick else 24))
    try:
        distance = load_lpips(threads=request.threads)
    except Exception as error:
        request.say(f"LPIPS is left out: {error}")
        distance = None

    def one(name: str, title: str, family: str, weights_name: str, load: Callable[[], Any]) -> Row:
        row = {
            "method": name,
            "title": title,
            "family": family,
            "weights": weights_name,
            "outcome": "measured",
        }
        request.say(f"{name} {weights_name}".strip())
        try:
            return {**row, "device": request.device, **measure_quality(load(), pairs, distance)}
        except Exception as error:
            return {**row, "outcome": "failed", "detail": f"{type(error).__name__}: {error}"[:300]}

    rows = [one("input", "The photograph as it is", "classical", "", lambda: lambda batch: batch)]
    for name in request.names or METHODS:
        method = find_method(name)
        paths = [path for weighted_method, path in weights if weighted_method == name]
        if method.kind == "command":
            continue
        if method.kind == "runtime" and not paths:
            paths = [request.bundle or ""]
        if method.kind == "network" and not paths:
            blank = {"method": name, "title": method.title, "family": method.family, "weights": ""}
            rows.append({**blank, "outcome": "no weights", "detail": f"--weights {name}=FILE measures it"})
        for path in paths or ([""] if method.kind == "array" else []):
            devices = runtime_devices(request.device)[:1] if method.kind == "runtime" else [request.device]
            precision = "auto" if method.kind == "runtime" else "fp32"
            setting = Setting(
                precision, devices[0], request.threads, path or None, channels_last=method.kind == "network"
            )
            rows.append(
                one(
                    name,
                    method.title,
                    method.family,
                    Path(path).stem,
                    lambda method=method, setting=setting: load_enhancer(method, setting),  # type: ignore[misc]
                )
            )
    return rows
