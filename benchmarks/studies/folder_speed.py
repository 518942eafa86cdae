"""Measures how fast `rave-run` enhances a folder of 12-megapixel JPEGs, compared with decoding and encoding.

    python -m benchmarks folder-speed [--photos 20] [--rounds 3] [--source FOLDER] [--kinds] [--output JSON]

It compares, in turns in one run, on the same processors:
- Pillow, which only decodes the files and encodes them again at the same quality, a photograph per thread;
  into memory, and once more into files, since only then Pillow releases Python's lock;
- simplejpeg doing the same, if it is installed, since it is the fastest codec for Python;
- `rave-run` at the model's working size and at 512 pixels, on every device of the machine.
It prints medians of wall time, and medians of the ratios of each round. `--source` takes real photographs to
enlarge; without it the pictures are synthetic scenes with grain. `--kinds` also measures folders of other
kinds of files, among them pictures so small that almost all of the time is overhead, and a single photograph;
what a photograph takes besides decoding, light and encoding; and a photograph of 50 megapixels in memory, on
one processor and on all. Folders of thousands of results are deleted at the very end: for minutes after that,
ext4 takes longer to make a file, which has nothing to do with the programs.

Installed packages come with compiled bytecode, so `rave-run` may write its own before it is measured.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.records.results import model_hash
from benchmarks.studies.reporting import report_study, study_parser
from rave_runtime.arrays import wide_pixels
from rave_runtime.backends.devices import has_openvino
from rave_runtime.backends.limits import usable_processors
from rave_runtime.bundle.opening import open_bundle
from rave_runtime.enhancer import Enhancer
from rave_runtime.photos.photo import Photo

SIZE = (4000, 3000)


class Kind(NamedTuple):
    """A folder of files.

    Attributes:
        photographs: number of files.
        width: width of each in pixels.
        height: height of each in pixels.
        ending: ending of their names.
        options: options of Pillow's `save`.
        arguments: of `rave-run`.
    """

    photographs: int
    width: int
    height: int
    ending: str
    options: dict[str, Any]
    arguments: tuple[str, ...] = ()


KINDS: Final = {
    "one JPEG of 12 MP": Kind(1, 4000, 3000, ".jpg", {"quality": 90}),
    "one JPEG of 12 MP by onnxruntime": Kind(1, 4000, 3000, ".jpg", {"quality": 90}, ("--device", "cpu")),
    "200 JPEGs of 0.5 MP": Kind(200, 866, 577, ".jpg", {"quality": 90}),
    "3 JPEGs of 50 MP": Kind(3, 8660, 5773, ".jpg", {"quality": 90}),
    "6 progressive JPEGs of 12 MP": Kind(6, 4000, 3000, ".jpg", {"quality": 90, "progressive": True}),
    "4 PNGs of 12 MP": Kind(4, 4000, 3000, ".png", {"compress_level": 1}),
    "4 TIFFs of 12 MP": Kind(4, 4000, 3000, ".tif", {}),
    "2000 JPEGs of 64 x 64": Kind(2000, 64, 64, ".jpg", {"quality": 90}),
}
_MANY: Final = 1000
QUALITY = 90
_JPEG_OPTIONS: Final = {"quality": QUALITY}
_PILLOW = ("pillow", "pillow into files")
_SIMPLEJPEG = "simplejpeg into files"


def draw_scene(rng: np.random.Generator) -> Image.Image:
    """Draws 40 x 30 colours, most of them dark: a bright photograph would be copied, not enhanced."""
    return Image.fromarray((rng.random((30, 40, 3)) ** 2 * 255).astype(np.uint8))


def make_photographs(folder: Path, count: int, source: Path | None) -> None:
    """Writes 12-megapixel JPEGs with grain like a camera's.

    Args:
        folder: where they are written.
        count: how many.
        source: folder of photographs to enlarge; None draws smooth scenes.
    """
    rng = np.random.default_rng(0)
    originals = sorted(path for path in source.iterdir() if path.is_file()) if source else []
    for i in range(count):
        image = Image.open(originals[i % len(originals)]).convert("RGB") if originals else draw_scene(rng)
        pixels = np.asarray(image.resize(SIZE, Image.Resampling.BICUBIC), np.int16)
        grain = rng.normal(0, 5, (SIZE[1], SIZE[0])).astype(np.int16)
        noisy = np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i:03}.jpg", quality=QUALITY)


def make_kind(folder: Path, kind: Kind) -> None:
    """Writes a folder of files that show one scene with grain, shifted by another amount in each."""
    rng = np.random.default_rng(0)
    size = (kind.width, kind.height)
    smooth = draw_scene(rng).resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 5, size[::-1]).astype(np.int16)
    scene = np.clip(np.asarray(smooth, np.int16) + grain[..., None], 0, 255).astype(np.uint8)
    for i in range(kind.photographs):
        Image.fromarray(np.roll(scene, 7 * i, 1)).save(folder / f"{i:04}{kind.ending}", **kind.options)


def measure_kinds(rounds: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Measures each kind: seconds of Pillow into files and of `rave-run`, their ratio, and the work.

    Work is milliseconds of all processors together for each photograph, the start of the program included.
    Files in the folder `scratch` stay, for the caller to delete at the very end.
    """
    findings = {}
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as own:
            place = scratch if kind.photographs >= _MANY else own
            photos = _new_folder(place)
            make_kind(photos, kind)
            pillow_s, rave_s, work_s = [], [], []
            for _ in range(rounds):
                pillow_s.append(run_pillow(photos, _new_folder(place), kind.options))
                before = _work_of_children_s()
                rave_s.append(run_rave(photos, _new_folder(place), kind.arguments))
                work_s.append(_work_of_children_s() - before)
        findings[name] = {
            "pillow_s": round(statistics.median(pillow_s), 3),
            "rave_run_s": round(statistics.median(rave_s), 3),
            "ratio": round(statistics.median(a / b for a, b in zip(rave_s, pillow_s, strict=True)), 2),
            "work_ms_each": round(1000 * statistics.median(work_s) / kind.photographs, 2),
        }
    return findings


def measure_bookkeeping(rounds: int, scratch: Path) -> dict[str, float]:
    """Measures what a photograph takes besides decoding, light and encoding, in milliseconds of wall time.

    Photographs of 64 x 64 are decoded and encoded again at strength 0. The start of the program does not
    count: the time of a small folder is subtracted from that of a large one. Files in `scratch` stay.
    """
    counts = (200, 2000)
    arguments = ["--strength", "0", "--quality", str(QUALITY)]
    kind = KINDS["2000 JPEGs of 64 x 64"]
    each_ms: dict[str, list[float]] = {"rave_run_ms": [], "rave_run_work_ms": [], "pillow_ms": []}
    folders = [_new_folder(scratch) for _ in counts]
    for folder, count in zip(folders, counts, strict=True):
        make_kind(folder, kind._replace(photographs=count))
    for _ in range(rounds):
        measured = []
        for folder in folders:
            before = _work_of_children_s()
            rave_s = run_rave(folder, _new_folder(scratch), arguments)
            work_s = _work_of_children_s() - before
            measured.append((rave_s, work_s, run_pillow(folder, _new_folder(scratch))))
        for values, few_s, many_s in zip(each_ms.values(), *measured, strict=True):
            values.append(1000 * (many_s - few_s) / (counts[1] - counts[0]))
    pairs = zip(each_ms["rave_run_ms"], each_ms["pillow_ms"], strict=True)
    difference = statistics.median(rave - pillow for rave, pillow in pairs)
    return {name: round(statistics.median(values), 3) for name, values in each_ms.items()} | {
        "difference_ms": round(difference, 3)
    }


def measure_threads(rounds: int) -> dict[str, float]:
    """Measures a photograph of 50 megapixels in memory, on one processor and on all, in turns."""
    kind = KINDS["3 JPEGs of 50 MP"]
    rng = np.random.default_rng(0)
    scene = np.asarray(draw_scene(rng).resize((kind.width, kind.height), Image.Resampling.BICUBIC))
    pixels = wide_pixels(kind.height, kind.width)  # as rave-run decodes JPEGs
    threads = (1, usable_processors())
    enhancers = [Enhancer(threads=each) for each in threads]
    times_s: list[list[float]] = [[] for _ in threads]
    for turn in range(2 * rounds + 2):
        for enhancer, seconds in zip(enhancers, times_s, strict=True):
            pixels[...] = scene
            started = time.perf_counter()
            enhancer.score_photo(Photo(pixels, "JPEG"), reuse=True)
            if turn > 1:
                seconds.append(time.perf_counter() - started)
    return {
        "one_processor_s": round(statistics.median(times_s[0]), 4),
        "all_processors_s": round(statistics.median(times_s[1]), 4),
        "ratio": round(statistics.median(one / both for one, both in zip(*times_s, strict=True)), 2),
    }


def _new_folder(place: str | Path) -> Path:
    return Path(tempfile.mkdtemp(dir=place))


def _work_of_children_s() -> float:
    """Processor seconds of all ended child processes so far."""
    times = os.times()
    return times.children_user + times.children_system


def run_pillow(
    folder: Path, output: Path | None = None, save_options: Mapping[str, Any] = _JPEG_OPTIONS
) -> float:
    """Decodes and encodes every file by Pillow, a thread per processor; returns the seconds.

    Args:
        folder: the files.
        output: folder to write into; None encodes into memory.
        save_options: options of Pillow's `save`.
    """

    def recode(path: Path) -> int:
        with Image.open(path) as image:
            image.load()
            target = io.BytesIO() if output is None else output / path.name
            image.save(target, image.format, **save_options)
        return len(target.getvalue()) if isinstance(target, io.BytesIO) else target.stat().st_size

    started = time.perf_counter()
    with ThreadPoolExecutor(usable_processors()) as pool:
        assert all(pool.map(recode, sorted(folder.iterdir())))
    return time.perf_counter() - started


def run_simplejpeg(folder: Path, output: Path) -> float:
    """Decodes and encodes every file by simplejpeg, a thread per processor; returns the seconds."""
    import simplejpeg

    def recode(path: Path) -> int:
        pixels = simplejpeg.decode_jpeg(path.read_bytes())
        return (output / path.name).write_bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420"))

    started = time.perf_counter()
    with ThreadPoolExecutor(usable_processors()) as pool:
        assert all(pool.map(recode, sorted(folder.iterdir())))
    return time.perf_counter() - started


def run_rave(folder: Path, output: Path, arguments: Sequence[str]) -> float:
    """Runs a whole `rave-run` process; returns its seconds."""
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", str(folder), str(output)]
    started = time.perf_counter()
    subprocess.run([*command, *arguments], check=True, capture_output=True, env=_environment())
    return time.perf_counter() - started


def _environment() -> dict[str, str]:
    """The environment of this process, in which Python may write bytecode, as pip does on installation."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _ratios(seconds: dict[str, list[float]], base: str) -> dict[str, float]:
    """Medians of the ratios of each round to the seconds named `base`."""
    return {
        name: round(statistics.median(a / b for a, b in zip(values, seconds[base], strict=True)), 2)
        for name, values in seconds.items()
    }


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("folder-speed", __doc__)
    parser.add_argument("--photos", type=int, default=20, help="in the folder; 20 unless given")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each; 3 unless given")
    parser.add_argument(
        "--source", type=Path, help="folder of photographs to enlarge; synthetic unless given"
    )
    parser.add_argument("--model", type=Path, help="bundle; the embedded one unless given")
    parser.add_argument("--kinds", action="store_true", help="also folders of other kinds of files")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    open_bundle(options.model)  # refuses it before anything is measured
    variants = {
        f"rave-run on {device}, light at {f'{size} px' if size else 'the working size'}": [
            *("--device", device, "--precision", "auto"),
            *(["--working-size", str(size)] if size else []),
            *(["--model", str(options.model)] if options.model else []),
        ]
        for device in (["cpu", "openvino"] if has_openvino() else ["cpu"])
        for size in (None, 512)
    }
    codecs = (*_PILLOW, _SIMPLEJPEG) if find_spec("simplejpeg") else _PILLOW
    seconds: dict[str, list[float]] = {name: [] for name in (*codecs, *variants)}
    with tempfile.TemporaryDirectory() as scratch:
        photos = _new_folder(scratch)
        make_photographs(photos, options.photos, options.source)
        size_mb = sum(path.stat().st_size for path in photos.iterdir()) / 1e6 / options.photos
        for turn in range(options.rounds + 1):
            with tempfile.TemporaryDirectory() as outputs:
                pillow_s = run_pillow(photos), run_pillow(photos, _new_folder(outputs))
                turn_seconds = dict(zip(_PILLOW, pillow_s, strict=True))
                if _SIMPLEJPEG in seconds:
                    turn_seconds[_SIMPLEJPEG] = run_simplejpeg(photos, _new_folder(outputs))
                for name, extra in variants.items():
                    turn_seconds[name] = run_rave(photos, _new_folder(outputs), extra)
            if turn:
                for name, value in turn_seconds.items():
                    seconds[name].append(value)
    findings = {
        "photographs": options.photos,
        "megapixels_each": SIZE[0] * SIZE[1] / 1e6,
        "megabytes_each": round(size_mb, 2),
        "median_s": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        **{f"ratio_to_{base.replace(' ', '_')}": _ratios(seconds, base) for base in codecs},
    }
    if options.kinds:
        with tempfile.TemporaryDirectory() as scratch:
            findings["kinds"] = measure_kinds(options.rounds, Path(scratch))
            findings["bookkeeping_each"] = measure_bookkeeping(options.rounds, Path(scratch))
        findings["50_mp_in_memory"] = measure_threads(options.rounds)
    report_study("folder-speed", arguments, findings, options.output, model_hash(options.model))
