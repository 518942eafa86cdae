"""How fast `rave-run` takes a folder of 12-megapixel JPEGs, against what nobody can avoid.

    python -m benchmarks folder-speed [--photos 20] [--rounds 3] [--source FOLDER] [--output FILE.json]

Compares, in turns in one run, on the same processors:
- Pillow alone decoding the files and encoding them again at the same quality, a photograph per thread, into
  memory; and once more into files, since Pillow lets go of Python's lock only there;
- simplejpeg doing the same, where it is installed: the fastest codec that there is in Python;
- `rave-run` at the model's own working size and at 512 pixels, on every device present.
Prints medians of wall time and ratios pair by pair. `--source` takes real photographs to enlarge;
without it the pictures are synthetic scenes with grain.
"""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.studies.reporting import report_study, study_parser
from rave_runtime.backends.devices import has_openvino
from rave_runtime.backends.limits import usable_processors

SIZE = (4000, 3000)
QUALITY = 90
_PILLOW = ("pillow", "pillow into files")
_SIMPLEJPEG = "simplejpeg into files"


def make_photographs(folder: Path, count: int, source: Path | None) -> None:
    """Writes 12-megapixel JPEGs with the detail and grain of a camera's."""
    rng = np.random.default_rng(0)
    originals = sorted(path for path in source.iterdir() if path.is_file()) if source else []
    for i in range(count):
        if originals:
            image = Image.open(originals[i % len(originals)]).convert("RGB")
        else:
            image = Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8))
        pixels = np.asarray(image.resize(SIZE, Image.Resampling.BICUBIC), np.int16)
        grain = rng.normal(0, 5, (SIZE[1], SIZE[0])).astype(np.int16)
        noisy = np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i:03}.jpg", quality=QUALITY)


def run_pillow(folder: Path, output: Path | None = None) -> float:
    """Seconds to decode and encode every file, a thread per processor; into memory unless told where to."""
    if output is not None:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()

    def recode(path: Path) -> int:
        with Image.open(path) as image:
            image.load()
            target = io.BytesIO() if output is None else output / path.name
            image.save(target, "JPEG", quality=QUALITY)
        return len(target.getvalue()) if isinstance(target, io.BytesIO) else target.stat().st_size

    started = time.perf_counter()
    with ThreadPoolExecutor(usable_processors()) as pool:
        assert all(pool.map(recode, sorted(folder.iterdir())))
    return time.perf_counter() - started


def run_simplejpeg(folder: Path, output: Path) -> float:
    """Seconds to decode and encode every file by simplejpeg, a thread per processor, into files."""
    import simplejpeg

    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()

    def recode(path: Path) -> int:
        pixels = simplejpeg.decode_jpeg(path.read_bytes())
        return (output / path.name).write_bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420"))

    started = time.perf_counter()
    with ThreadPoolExecutor(usable_processors()) as pool:
        assert all(pool.map(recode, sorted(folder.iterdir())))
    return time.perf_counter() - started


def run_rave(folder: Path, output: Path, arguments: list[str]) -> float:
    """Seconds of the whole `rave-run` process."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", str(folder), str(output)]
    started = time.perf_counter()
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def _ratios(seconds: dict[str, list[float]], base: str) -> dict[str, float]:
    """Medians of the ratios of each round."""
    return {
        name: round(statistics.median(a / b for a, b in zip(values, seconds[base], strict=True)), 2)
        for name, values in seconds.items()
    }


def main(arguments: Sequence[str]) -> None:
    """Parses, measures in turns, prints, saves."""
    parser = study_parser("folder-speed", __doc__)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    variants = {
        f"rave-run on {device}, light at {f'{size} px' if size else 'the working size'}": [
            *("--device", device, "--precision", precision),
            *(["--working-size", str(size)] if size else []),
            *(["--model", str(options.model)] if options.model else []),
        ]
        for device in (["cpu", "openvino"] if has_openvino() else ["cpu"])
        for precision in ("auto",)
        for size in (None, 512)
    }
    codecs = (*_PILLOW, _SIMPLEJPEG) if find_spec("simplejpeg") else _PILLOW
    seconds: dict[str, list[float]] = {name: [] for name in (*codecs, *variants)}
    with tempfile.TemporaryDirectory() as scratch:
        photos, output = Path(scratch, "photos"), Path(scratch, "output")
        photos.mkdir()
        make_photographs(photos, options.photos, options.source)
        size_mb = sum(path.stat().st_size for path in photos.iterdir()) / 1e6 / options.photos
        for turn in range(options.rounds + 1):
            measured = dict(zip(_PILLOW, (run_pillow(photos), run_pillow(photos, output)), strict=True))
            if _SIMPLEJPEG in seconds:
                measured[_SIMPLEJPEG] = run_simplejpeg(photos, output)
            measured |= {name: run_rave(photos, output, extra) for name, extra in variants.items()}
            if turn:
                for name, value in measured.items():
                    seconds[name].append(value)
    findings = {
        "photographs": options.photos,
        "megapixels_each": SIZE[0] * SIZE[1] / 1e6,
        "megabytes_each": round(size_mb, 2),
        "median_s": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        **{f"ratio_to_{base.replace(' ', '_')}": _ratios(seconds, base) for base in codecs},
    }
    report_study("folder-speed", arguments, findings, options.output)
