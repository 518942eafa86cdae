"""Feeds damaged pictures, metadata and manifests to the runtime until the time is up.

    python tests/fuzz/fuzz_decoders.py --seconds 120

Anything but the result or the error that is promised, or an input that takes over ten seconds, ends the
run: the input is left in `--keep` (crash.bin), with the seed that leads to it. What kills the process
outright leaves it there too, since it is written down before it is tried.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import importlib
import json
import random
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from rave_runtime.bundle import MANIFEST_NAME, read_bundle
from rave_runtime.errors import BundleError, PhotoError
from rave_runtime.photos.colour import is_srgb, tone_curve
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import orientation_of, upright_exif
from rave_runtime.photos.headers.coding import is_lossless_webp
from rave_runtime.photos.jpeg import carry_jpeg, count_scans
from rave_runtime.photos.metadata.left_behind import note_left_behind
from rave_runtime.photos.metadata.photoshop import without_thumbnails
from rave_runtime.photos.png import carry_png, missing_bytes, png_blocks, without_chunks
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.tiff.structure import tiff_blocks
from rave_runtime.photos.xmp import upright_xmp, without_extension

MAX_SECONDS = 10.0
ODD = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xd9",
    b"\xff\xda",
)

MANIFEST = {
    "format": 1,
    "network": {
        "channels": 32,
        "bins": [1, 2, 3, 6],
        "context_halo_px": 5,
        "halo_px": 17,
        "padding": "reflect",
    },
    "graphs": [
        {
            "file": "context.onnx",
            "sha256": "0" * 64,
            "part": "context",
            "precision": "fp32",
            "inputs": [{"name": "image", "dtype": "uint8", "shape": [1, "h", "w", 3]}],
            "outputs": [{"name": "features", "dtype": "float32", "shape": [1, 32, "h", "w"]}],
            "image": "uint8",
        }
    ],
    "parity": [
        {
            "precision": "fp32",
            "provider": "CPUExecutionProvider",
            "reference": "torch float32",
            "height_px": 64,
            "width_px": 64,
            "tile_px": None,
            "max_abs_error": 1e-7,
            "mean_abs_error": 1e-8,
            "psnr_db": 90.0,
        }
    ],
    "working_size_px": 512,
    "provenance": {"seed": 1, "data": ["kodak"]},
    "exporter": "rave-export 0.1.0",
}


def damage(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled, or replaced by values that sizes dislike."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        # metadata and sizes lie in front
        place = min(chance.randrange(len(data)), chance.randrange(len(data)))
        length = chance.choice((1, 2, 4, 16, 64))
        kind = chance.randrange(6)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place] = chance.randrange(256)
        elif kind == 2:
            odd = chance.choice(ODD)
            data[place : place + len(odd)] = odd
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[place : place + length]
        else:
            del data[place:]
    return bytes(data)


def damage_manifest(chance: random.Random) -> bytes:
    """A manifest with values of other kinds, or damaged as text."""
    manifest = json.loads(json.dumps(MANIFEST))
    values: tuple[object, ...] = (
        None,
        True,
        -1,
        10**400,
        1e308,
        float("nan"),
        "",
        "\0",
        "\ud800",
        [],
        {},
        [[]],
        "../x",
    )
    for _ in range(chance.randrange(4)):
        where = chance.choice([manifest, manifest["network"], *manifest["graphs"], *manifest["parity"]])
        if isinstance(where, dict) and where:
            where[chance.choice([*where, "new"])] = chance.choice(values)
        if not isinstance(manifest.get("network"), dict) or any(
            not isinstance(manifest.get(name), list) for name in ("graphs", "parity")
        ):
            break
    text = json.dumps(manifest).encode()
    if chance.random() < 0.05:
        text = text.replace(b"64", b"9" * 5000, 1)
    return damage(text, chance) if chance.random() < 0.5 else text


def try_photo(content: bytes, seeds: list[bytes]) -> str:
    try:
        photo = read_photo(content, max_megapixels=1)
    except PhotoError as error:
        text = str(error)
        assert "\n" not in text, text
        assert len(text) < 300, text
        return "refused"
    assert photo.pixels.ndim == 3
    tone_curve(photo.icc_profile)
    is_srgb(photo.icc_profile)
    for name in {photo.format, "PNG", "JPEG", "TIFF"}:
        with contextlib.suppress(PhotoError):
            encoded = encode_photo(photo, photo.pixels, name if name != "GIF" else "PNG")
            again = read_photo(encoded.content, max_megapixels=1)
            assert again.pixels.shape[:2] == photo.pixels.shape[:2]
            assert orientation_of(again.exif, again.xmp) == 1
    return "read"


def try_metadata(content: bytes, seeds: list[bytes]) -> str:
    assert orientation_of(content, content) in range(1, 9)
    assert len(upright_exif(content, 3, 5)) == len(content)
    for orientation in (1, 6):
        upright_exif(content, 3, 5, orientation)
        packet = upright_xmp(content, 3, 5, orientation)
        assert packet is None or upright_xmp(packet, 3, 5) == packet
    without_extension(content)
    tiff_blocks(content)
    for name in ("JPEG", "PNG", "WEBP", "HEIF", "AVIF"):
        note_left_behind(name, content, content)
    without_thumbnails(content[content.find(b"8BIM") :])
    count_scans(content)
    is_lossless_webp(content)
    carry_jpeg(content, seeds[0], 3, 5, keep_icc=True)
    png_blocks(content)
    without_chunks(content)
    carry_png(content, seeds[0], 3, 5, keep_icc=True)
    if len(content) > 40:
        missing = 0
        with contextlib.suppress(Exception):  # only asked of PNGs that a decoder has accepted
            missing = missing_bytes(content)
        assert missing >= 0
    tone_curve(content[content.find(b"ICC_PROFILE\0") + 14 :])
    return "done"


def try_manifest(content: bytes, folder: Path) -> str:
    (folder / MANIFEST_NAME).write_bytes(content)
    try:
        read_bundle(folder)
    except BundleError:
        return "refused"
    return "read"


def inputs(
    seeds: list[bytes], folder: Path, chance: random.Random
) -> Iterator[tuple[str, bytes, Callable[[], str]]]:
    """What is tried, its bytes, and the trial."""
    while True:
        content = damage(chance.choice(seeds), chance)
        yield "photo", content, functools.partial(try_photo, content, seeds)
        if chance.random() < 0.3:
            yield "metadata", content, functools.partial(try_metadata, content, seeds)
        if chance.random() < 0.3:
            text = damage_manifest(chance)
            yield "manifest", text, functools.partial(try_manifest, text, folder)


def load_seeds() -> list[bytes]:
    """The zoo's files, but for the large ones. Some installed packages call themselves `tests`, too."""
    package = types.ModuleType("tests")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["tests"] = package
    zoo = importlib.import_module("tests.runtime.zoo.animals")
    contents = [animal.make for animal in zoo.animals()]
    return [content for content in contents if isinstance(content, bytes) and 40 < len(content) < 40_000]


def main() -> int:
    """Runs until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    faulthandler.enable()
    chance = random.Random(arguments.seed)
    seeds = load_seeds()
    counts: Counter[str] = Counter()
    stop = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "context.onnx").write_bytes(b"")
        for kind, content, trial in inputs(seeds, folder, chance):
            if time.monotonic() > stop:
                break
            crash = arguments.keep / "crash.bin"
            crash.write_bytes(content)
            started = time.monotonic()
            try:
                outcome = trial()
                assert time.monotonic() - started < MAX_SECONDS, "took too long"
            except BaseException:
                print(
                    f"{kind} broke after {counts.total()} inputs (seed {arguments.seed}): {crash}",
                    file=sys.stderr,
                )
                raise
            crash.unlink()
            counts[f"{kind} {outcome}"] += 1
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
