"""Compares the network at full resolution, as `rave-run --full-resolution` runs it, with PyTorch.

    python -m benchmarks full-resolution CHECKPOINT BUNDLE [--megapixels 12] [--rounds 2] [--photographs 20]
        [--output FILE.json]

It makes three comparisons on all processors, each after a run to warm up. PyTorch, in both memory layouts, is
measured first and alone, since idle threads of another library spin and would slow it. The others take turns.
- One window of 512x512, which fits a tile: PyTorch and each precision and device of the bundle.
- A photograph of 12 megapixels in tiles: each precision and device, compared per pixel with PyTorch's window,
  since 12 megapixels at once do not fit into PyTorch's memory.
- A folder of photographs of 3 megapixels by the whole program, from JPEG to JPEG, compared with the network
  alone on such a photograph.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.records.results import model_hash
from benchmarks.studies.reporting import report_study, study_parser
from rave_runtime import Enhancer
from rave_runtime.backends.devices import has_openvino
from rave_train.checkpoint import load_checkpoint
from rave_train.network import EnhancementNetwork

WINDOW_PX = 512
PHOTOGRAPH_PX = (1500, 2000)
LAYOUTS = {
    "PyTorch, one window": torch.contiguous_format,
    "PyTorch, one window, channels last": torch.channels_last,
}


def make_picture(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Draws a bright sky over a dark ground with grain, [height, width, 3] uint8."""
    rng = np.random.default_rng(0)
    light = np.where(np.arange(height) < 0.4 * height, 200, 40)[:, None, None]
    grain = rng.integers(0, 30, (height, width, 3))
    return (light + grain).astype(np.uint8)


def seconds_of(run: Callable[[], object]) -> float:
    """Runs a function once; returns its seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Measures seconds per megapixel of everything, and how many times faster than PyTorch it is."""
    network = load_checkpoint(options.checkpoint)
    height = round((options.megapixels * 1e6 * 3 / 4) ** 0.5)
    photograph = make_picture(*PHOTOGRAPH_PX)
    window, large = make_picture(WINDOW_PX, WINDOW_PX), make_picture(height, height * 4 // 3)
    planes = torch.from_numpy(window).permute(2, 0, 1)[None].float() / 255

    times_per_mp: dict[str, list[float]] = {}
    for name, layout in LAYOUTS.items():
        torch_network, input_planes = (
            network.to(memory_format=layout),
            planes.contiguous(memory_format=layout),
        )
        times = [
            seconds_of(partial(_in_torch, torch_network, input_planes)) for _ in range(2 * options.rounds + 2)
        ][1:]
        times_per_mp[name] = [seconds / (WINDOW_PX**2 / 1e6) for seconds in times]
    runs: dict[str, tuple[Callable[[], object], float]] = {}
    for device in ["cpu", "openvino"] if has_openvino() else ["cpu"]:
        for precision in ("fp32", "int8"):
            if precision not in Enhancer(options.bundle, "fp32", "cpu").manifest.precisions():
                continue
            enhancer = Enhancer(options.bundle, precision, device, working_size=None)
            untiled = Enhancer(options.bundle, precision, device, working_size=None, tile_size=None)
            name = f"{device} {precision}"
            runs[f"{name}, one window"] = (partial(untiled.enhance, window), WINDOW_PX**2 / 1e6)
            runs[f"{name}, tiled"] = (partial(enhancer.enhance, large), large.size / 3e6)
            if options.photographs and device == "cpu":
                runs[f"{name}, a photograph"] = (
                    partial(enhancer.enhance, photograph),
                    photograph.size / 3e6,
                )
    times_per_mp |= {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, (run, megapixels) in runs.items():
            seconds = seconds_of(run)
            if turn:
                times_per_mp[name].append(seconds / megapixels)
                print(f"{name}: {seconds / megapixels:.3f} s per megapixel", file=sys.stderr, flush=True)
    median = {name: statistics.median(times) for name, times in times_per_mp.items()}
    ends = {
        precision: statistics.median(times_per_mp[f"cpu {precision}, a photograph"])
        / seconds_of_folder(options.bundle, precision, options.photographs)
        for precision in ("fp32", "int8")
        if f"cpu {precision}, a photograph" in times_per_mp
    }
    return {
        "megapixels": round(large.size / 3e6, 1),
        "median_s_per_megapixel": {name: round(value, 3) for name, value in median.items()},
        "times_faster_than": {
            torchs: {name: round(median[torchs] / value, 2) for name, value in median.items()}
            for torchs in LAYOUTS
        },
        "photographs": options.photographs,
        "share_of_the_networks_rate_from_jpeg_to_jpeg": {name: round(end, 3) for name, end in ends.items()},
    }


@torch.no_grad()
def _in_torch(network: EnhancementNetwork, planes: torch.Tensor) -> None:
    """Computes the light of a whole picture and divides by it."""
    light = network(planes)
    (planes / light.clamp_min(1e-12)).clamp(0, 1)


def seconds_of_folder(bundle: Path, precision: str, photographs: int) -> float:
    """Runs `rave-run --full-resolution` on a folder; returns seconds per megapixel, its start included."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, output = Path(scratch, "photographs"), Path(scratch, "output")
        folder.mkdir()
        image = Image.fromarray(make_picture(*PHOTOGRAPH_PX))
        for number in range(photographs):
            image.save(folder / f"{number:03}.jpg", quality=90)
        program = [
            sys.executable,
            "-c",
            "from rave_runtime.cli import main; main()",
            str(folder),
            str(output),
        ]
        options = ["--model", str(bundle), "--precision", precision, "--device", "cpu", "--full-resolution"]
        seconds = seconds_of(lambda: subprocess.run([*program, *options], check=True, capture_output=True))
        assert len(list(output.glob("*.jpg"))) == photographs
    print(f"cpu {precision}, a folder: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds / (photographs * PHOTOGRAPH_PX[0] * PHOTOGRAPH_PX[1] / 1e6)


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("full-resolution", __doc__)
    parser.add_argument("checkpoint", type=Path, help="of the network to compare")
    parser.add_argument("bundle", type=Path, help="the bundle exported from the checkpoint, with --int8")
    parser.add_argument(
        "--megapixels", type=float, default=12.0, help="of the photograph in tiles; 12 unless given"
    )
    parser.add_argument("--rounds", type=int, default=2, help="turns of each; 2 unless given")
    parser.add_argument(
        "--photographs", type=int, default=20, help="how many photographs are in the folder; 0 leaves it out"
    )
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    model = model_hash(options.bundle)
    report_study("full-resolution", arguments, measure(options), options.output, model)
