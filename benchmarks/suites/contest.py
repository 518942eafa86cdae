"""Measures contestants in turns over sizes of photographs; each measurement is a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants.cost import cost_of
from benchmarks.contestants.enhancers import Setting
from benchmarks.contestants.methods import METHODS, Method
from benchmarks.contestants.programs import program_of
from benchmarks.processes.summary import paired_ratio, summarize
from benchmarks.processes.turns import Measurement, Plan, measure_in_turns

Row = dict[str, Any]
Say = Callable[[str], None]

PATIENCE = 1.5
"""A size is left out if the expected time, scaled by pixels from the last size, is this many times the
cap."""


@dataclass(frozen=True)
class Size:
    """The size of photographs in pixels, and how many are enhanced at once."""

    height: int
    width: int
    batch: int = 1

    @property
    def megapixels(self) -> float:
        """Megapixels of all photographs together."""
        return self.height * self.width * self.batch / 1e6

    def __str__(self) -> str:
        many = f" x{self.batch}" if self.batch > 1 else ""
        return f"{self.width}x{self.height}{many}"


def parse_size(text: str) -> Size:
    """Parses a size such as "640x480", width first.

    Raises:
        ValueError: the text is written otherwise.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"--size must be WIDTHxHEIGHT in pixels, got {text!r}")
    return Size(int(height), int(width))


@dataclass(frozen=True)
class Contestant:
    """A method with its setting."""

    method: Method
    setting: Setting

    @property
    def label(self) -> str:
        """A name that no other contestant of the run has."""
        setting = self.setting
        parts = [self.method.name]
        if self.method.kind != "array":
            parts += [setting.device, setting.precision]
        if setting.tile_size != "auto":
            parts.append(f"tile {setting.tile_size or 'none'}")
        if setting.threads:
            parts.append(f"{setting.threads} threads")
        return " ".join(parts)


def choose_contestants(
    names: Iterable[str], device: str, threads: int, bundle: str | None, every_precision: bool
) -> list[Contestant]:
    """The methods named, in each precision and on each provider that this machine has for the device.

    Args:
        names: names of methods.
        device: "cpu" or "cuda".
        threads: how many threads compute on the processor.
        bundle: folder of the runtime's model; None is the embedded one.
        every_precision: whether to measure every precision: those of the bundle for the runtime; float32 and
            a half precision for torch networks, on the processor for ours only. If false, the runtime chooses
            its precision, and networks run in float32.

    Raises:
        ValueError: a name is unknown.
    """
    contestants: list[Contestant] = []
    half = "fp16" if device == "cuda" else "bf16"
    for name in names:
        if name not in METHODS:
            raise ValueError(f"method {name!r} is unknown: choose among {', '.join(METHODS)}")
        method = METHODS[name]
        if method.kind == "network":
            both = every_precision and (device == "cuda" or method.family == "ours")
            for precision in ["fp32", half] if both else ["fp32"]:
                setting = Setting(precision, device, threads, channels_last=True)
                contestants.append(Contestant(method, setting))
        elif method.kind == "array":
            contestants.append(Contestant(method, Setting(threads=1)))
        else:
            precisions = bundle_precisions(bundle) if every_precision else ["auto"]
            providers = runtime_devices(device) if method.kind == "runtime" else ["auto"]
            contestants += [
                Contestant(method, Setting(precision, provider, threads, bundle))
                for provider in providers
                for precision in precisions
            ]
    return contestants


def runtime_devices(device: str) -> list[str]:
    """The runtime's devices that work here, those of the processor or those of the GPU."""
    from rave_runtime import RaveError
    from rave_runtime.backends.devices import DEVICES, GPUS, choose_device

    devices = []
    for name in DEVICES:
        if (name in GPUS) != (device == "cuda"):
            continue
        try:
            choose_device(name)
        except RaveError:
            continue
        devices.append(str(name))
    return devices


def bundle_precisions(bundle: str | None) -> list[str]:
    """The precisions that a bundle holds; ["auto"] if it cannot be read, so that the run reports why."""
    from rave_runtime import BundleError
    from rave_runtime.bundle import embedded_bundle, read_bundle

    try:
        return [str(p) for p in read_bundle(bundle or embedded_bundle()).manifest.precisions()]
    except BundleError:
        return ["auto"]


def run_contest(
    contestants: Sequence[Contestant],
    sizes: Sequence[Size],
    plan: Plan,
    say: Say = lambda _: None,
    alone: bool = False,
) -> list[Row]:
    """Measures every contestant at every size, all of one size in turns or each alone.

    A contestant that did not finish at one size is not tried at a larger one, nor is one whose time at the
    last size suggests that it would take far longer than the cap.

    Args:
        contestants: whom to measure.
        sizes: the sizes; they are measured in ascending order.
        plan: how much to measure.
        say: called with a line on what happens.
        alone: whether each contestant is measured without the others in turns.

    Returns:
        A row per size and contestant.
    """
    rows: list[Row] = []
    last: dict[str, tuple[Size, Measurement]] = {}
    for size in sorted(sizes, key=lambda s: s.megapixels):
        say(f"{size} ({size.megapixels:.2f} MP)")
        reasons = {c.label: _reason_against(last.get(c.label), size, plan) for c in contestants}
        programs = {
            c.label: program_of(c.method, c.setting, size.height, size.width, size.batch)
            for c in contestants
            if reasons[c.label] is None
        }
        groups = [{name: program} for name, program in programs.items()] if alone else [programs]
        measurements: dict[str, Measurement] = {}
        for group in groups:
            measurements |= measure_in_turns(group, plan, lambda words: say(f"  {words}"))
        reference = next((c.label for c in contestants if c.method.name == "ours"), None)
        ours = (
            measurements.get(reference, Measurement("not tried")) if reference else Measurement("not tried")
        )
        for contestant in contestants:
            label = contestant.label
            measurement = measurements.get(label) or Measurement("not tried", detail=reasons[label] or "")
            if measurement.outcome != "not tried":
                last[label] = (size, measurement)
            rows.append(make_row(contestant, size, measurement, ours))
    return rows


def make_row(contestant: Contestant, size: Size, measurement: Measurement, ours: Measurement) -> Row:
    """A row of the result: a measurement, what was measured, and its ratio to our time."""
    method, setting = contestant.method, contestant.setting
    cost = cost_of(method, setting, size.height, size.width, size.batch)
    time = summarize(measurement.seconds) if measurement.seconds else None
    return {
        "method": method.name,
        "title": method.title,
        "family": method.family,
        "device": setting.device if method.kind != "array" else "cpu",
        "precision": setting.precision if method.kind != "array" else "fp32",
        "threads": setting.threads,
        "tile_size": setting.tile_size,
        "height": size.height,
        "width": size.width,
        "batch": size.batch,
        "megapixels": round(size.megapixels, 4),
        "outcome": measurement.outcome,
        "median_s": time and time.median,
        "low_s": time and time.low,
        "high_s": time and time.high,
        "least_s": time and time.least,
        "samples": time.count if time else 0,
        "times_ours": paired_ratio(measurement.seconds, ours.seconds),
        "build_s": measurement.build_s,
        "idle_rss_mib": measurement.idle_rss_mib,
        "peak_rss_mib": measurement.peak_rss_mib,
        "gpu_mib": measurement.gpu_mib,
        "parameters": cost and cost.parameters,
        "gmacs": cost and cost.macs / 1e9,
        "gflop_per_s": 2 * cost.macs / 1e9 / time.median if cost and time else None,
        "detail": measurement.detail,
    }


def _reason_against(last: tuple[Size, Measurement] | None, size: Size, plan: Plan) -> str | None:
    """Why a contestant is not tried at a size, after its measurement at the last one; None if it is tried."""
    if last is None:
        return None
    before, measurement = last
    if not measurement.seconds:
        return f"{measurement.outcome} at {before} already"
    expected = min(measurement.seconds) * size.megapixels / before.megapixels
    if expected >= PATIENCE * plan.cap_s:
        return f"about {expected:.0f} s by its time at {before}, the cap is {plan.cap_s:g} s"
    return None
