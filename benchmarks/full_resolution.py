"""The network at full resolution, as `rave-run --full-resolution` runs it, against PyTorch running it whole.

    python -m benchmarks.full_resolution CHECKPOINT BUNDLE [--megapixels 12] [--rounds 2] [--output FILE.json]

Two comparisons, everything in turns in one process after a run to warm up, on all processors:
- one window of 512x512, which fits a tile: PyTorch and each precision and device of the bundle;
- a photograph of 12 megapixels in tiles: each precision and device, per pixel against PyTorch's window,
  since 12 megapixels at once do not fit into PyTorch's memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rave_runtime import Enhancer
from rave_runtime.devices import has_openvino
from rave_runtime.network import usable_processors
from rave_train.checkpoint import load_checkpoint

WINDOW_PX = 512


def make_picture(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A sky over a dark ground, with grain."""
    rng = np.random.default_rng(0)
    light = np.where(np.arange(height) < 0.4 * height, 200, 40)[:, None, None]
    grain = rng.integers(0, 30, (height, width, 3))
    return (light + grain).astype(np.uint8)


def seconds_of(run: Callable[[], object]) -> float:
    """Of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Seconds per megapixel of everything, and how many times faster than PyTorch, turn by turn."""
    network = load_checkpoint(options.checkpoint)
    height = round((options.megapixels * 1e6 * 3 / 4) ** 0.5)
    window, large = make_picture(WINDOW_PX, WINDOW_PX), make_picture(height, height * 4 // 3)
    planes = torch.from_numpy(window).permute(2, 0, 1)[None].float() / 255

    def in_torch() -> None:
        with torch.no_grad():
            light = network(planes)
            (planes / light.clamp_min(1e-12)).clamp(0, 1)

    runs: dict[str, tuple[Callable[[], object], float]] = {
        "PyTorch, one window": (in_torch, WINDOW_PX**2 / 1e6)
    }
    for device in ["cpu", "openvino"] if has_openvino() else ["cpu"]:
        for precision in ("fp32", "int8"):
            if precision not in Enhancer(options.bundle, "fp32", "cpu").manifest.precisions():
                continue
            enhancer = Enhancer(options.bundle, precision, device, working_size=None)
            whole = Enhancer(options.bundle, precision, device, working_size=None, tile_size=None)
            name = f"{device} {precision}"
            runs[f"{name}, one window"] = (lambda e=whole: e.enhance(window), WINDOW_PX**2 / 1e6)
            runs[f"{name}, tiled"] = (lambda e=enhancer: e.enhance(large), large.size / 3e6)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, (run, megapixels) in runs.items():
            if turn or not name.endswith("tiled"):
                seconds = seconds_of(run)
                if turn:
                    taken[name].append(seconds / megapixels)
                    print(f"{name}: {seconds / megapixels:.3f} s per megapixel", file=sys.stderr, flush=True)
    torch_times = taken["PyTorch, one window"]
    return {
        "command": "python -m benchmarks.full_resolution " + " ".join(_names(sys.argv[1:])),
        "machine": f"{platform.processor() or platform.machine()}, {usable_processors()} processors",
        "megapixels": round(large.size / 3e6, 1),
        "median_s_per_megapixel": {name: round(statistics.median(t), 3) for name, t in taken.items()},
        "times_faster_than_pytorch": {
            name: round(statistics.median(slow / fast for slow, fast in zip(torch_times, t, strict=True)), 2)
            for name, t in taken.items()
        },
    }


def _names(arguments: list[str]) -> list[str]:
    """Arguments without the folders of this machine."""
    return [Path(argument).name if "/" in argument else argument for argument in arguments]


def main() -> None:
    """Parses, measures, prints, saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path, help="exported from it, with --int8")
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    text = json.dumps(measure(options), indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
