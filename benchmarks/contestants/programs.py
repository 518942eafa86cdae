"""The programs that workers run: a method on a photograph, in memory or from file to file."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks.contestants.enhancers import Photographs, Setting, load_enhancer
from benchmarks.contestants.methods import Method, find_method
from benchmarks.processes.process import Program

SEED = 0


def make_photographs(height: int, width: int, batch: int = 1, seed: int = SEED) -> Photographs:
    """Draws dark scenes before a bright sky, with texture, about as compressible as photographs.

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
    """A function that runs a method on photographs in memory and leaves the result in memory.

    Args:
        method: name of the method.
        height: height of the photographs in pixels.
        width: width of the photographs in pixels.
        batch: how many photographs.
        setting: fields of `Setting`.
    """
    enhance = load_enhancer(find_method(method), Setting(**setting))
    photographs = make_photographs(height, width, batch)
    return lambda: enhance(photographs)


def run_command(
    height: int, width: int, batch: int = 1, weights: str | None = None, **options: Any
) -> Callable[[], None]:
    """A function that runs `rave-run` on JPEG files as a user does, with its start, decoding and encoding.

    Its time includes writing the input into a new folder, so that nothing is left behind when the process is
    killed between runs.
    """
    encoded = []
    for photograph in make_photographs(height, width, batch):
        buffer = io.BytesIO()
        PIL.Image.fromarray(photograph).save(buffer, "jpeg", quality=92)
        encoded.append(buffer.getvalue())
    option_values = {"model": weights} | {
        name: options.get(name) for name in ("precision", "device", "tile_size")
    }
    flags = [
        word
        for name, value in option_values.items()
        if value not in (None, "auto")
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in", Path(folder) / "out"
            source.mkdir()
            for index, content in enumerate(encoded):
                (source / f"{index}.jpg").write_bytes(content)
            files = (source, target) if batch > 1 else (source / "0.jpg", target.with_suffix(".jpg"))
            command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", *map(str, files)]
            result = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
            if result.returncode:
                raise RuntimeError(f"rave-run ended with {result.returncode}: {result.stderr.strip()[-400:]}")

    return run


def program_of(method: Method, setting: Setting, height: int, width: int, batch: int = 1) -> Program:
    """The program that runs a method on drawn photographs of this size."""
    arguments: dict[str, Any] = {"height": height, "width": width, "batch": batch, **asdict(setting)}
    if method.kind == "command":
        return Program("benchmarks.contestants.programs:run_command", arguments, setting.threads)
    return Program(
        "benchmarks.contestants.programs:enhance_arrays",
        {"method": method.name, **arguments},
        setting.threads,
    )
