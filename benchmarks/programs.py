"""What the workers run: a method on a photograph, in memory or from file to file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks.enhancers import Photographs, Setting, load_enhancer
from benchmarks.methods import Method, find_method
from benchmarks.process import Program

SEED = 0


def make_photographs(height: int, width: int, batch: int = 1, seed: int = SEED) -> Photographs:
    """A dark scene before a bright sky, with texture: as compressible as a photograph, no file needed.

    Returns:
        [batch, height, width, 3] uint8.
    """
    generator = np.random.default_rng(seed)
    photographs = np.empty((batch, height, width, 3), np.uint8)
    for photograph in photographs:
        coarse = generator.integers(20, 90, (12, 16, 3), dtype=np.uint8)
        coarse[:5] = generator.integers(180, 255, (5, 16, 3), dtype=np.uint8)
        smooth = PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)
        grain = generator.integers(0, 12, (min(height, 512), min(width, 512), 3), dtype=np.uint8)
        rows, cols = -(-height // len(grain)), -(-width // grain.shape[1])
        tiled = np.tile(grain, (rows, cols, 1))[:height, :width]
        np.minimum(np.asarray(smooth), 243, out=photograph)
        photograph += tiled
    return photographs


def enhance_arrays(
    method: str, height: int, width: int, batch: int = 1, **setting: Any
) -> Callable[[], object]:
    """A method on photographs that are in memory already, result in memory."""
    enhance = load_enhancer(find_method(method), Setting(**setting))
    photographs = make_photographs(height, width, batch)
    return lambda: enhance(photographs)


def run_command(
    height: int, width: int, batch: int = 1, weights: str | None = None, **options: Any
) -> Callable[[], object]:
    """`rave-run` on JPEG files, as a user types it: start, decoding and encoding are included."""
    folder = tempfile.TemporaryDirectory()
    inputs = Path(folder.name) / "in"
    inputs.mkdir()
    for index, photograph in enumerate(make_photographs(height, width, batch)):
        PIL.Image.fromarray(photograph).save(inputs / f"{index}.jpg", quality=92)
    one = batch == 1
    source, target = (inputs / "0.jpg", "out.jpg") if one else (inputs, "out")
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", str(source), target]
    command += ["--model", weights] if weights else []
    for name in ("precision", "device", "tile_size"):
        value = options.get(name)
        if value not in (None, "auto"):
            command += [f"--{name.replace('_', '-')}", str(value)]

    def run() -> object:
        with tempfile.TemporaryDirectory(dir=folder.name) as place:
            arguments = [*command[:4], str(Path(place) / target), *command[5:]]
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"rave-run ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        return folder

    return run


def program_of(method: Method, setting: Setting, height: int, width: int, batch: int = 1) -> Program:
    """The program that runs a method on a made photograph."""
    arguments: dict[str, Any] = {"height": height, "width": width, "batch": batch, **asdict(setting)}
    if method.kind == "command":
        return Program("benchmarks.programs:run_command", arguments, setting.threads)
    return Program(
        "benchmarks.programs:enhance_arrays", {"method": method.name, **arguments}, setting.threads
    )
