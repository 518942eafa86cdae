"""The memory limit holds for every format and shape, or the photograph is refused by name."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos.decoders import register_heif
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.memory import MemoryBudget, Need, estimate_need
from tests.runtime.handmade import png_chunk as chunk

MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

MEASURE = """
import sys
from pathlib import Path
from typing import Any
from rave_runtime import Enhancer
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import Job
from rave_runtime.run.memory import MemoryBudget, estimate_need

def mib(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) / 1024

small, source, target, limit = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
enhancer = Enhancer(device="cpu", threads=1, precision="fp32")

def enhance(*job):
    (result,) = Batch(enhancer, budget=MemoryBudget(limit << 20)).run([Job(*job)])
    return result

assert enhance(small, target.with_name("small.png"), "small").status == "done"
before = mib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
result = enhance(source, target, "large")
need = estimate_need(source, enhancer.working_size_px)
print(result.status, mib("VmHWM") - before, need.photo_bytes / 2**20, result.error)
"""


def measured(tmp_path: Path, source: Path, target: str, limit_mib: int) -> tuple[str, float, float, str]:
    """Status, peak MiB beyond a small photograph, estimated MiB, and the error."""
    small = tmp_path / "small.png"
    scene(320, 240).save(small)
    places = (str(place) for place in (small, source, tmp_path / target))
    command = [sys.executable, "-c", MEASURE, *places, str(limit_mib)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    status, peak, estimate, error = done.stdout.strip().split(" ", 3)
    return status, float(peak), float(estimate), error


def empty_png(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """A black PNG of any size in a few kilobytes."""
    samples = {0: 1, 2: 3, 6: 4}[colour]
    row = bytes(1 + -(-width * samples * bits // 8))
    packer = zlib.compressobj(1)
    rows = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def scene(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(5, 80, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height))


FORMATS: dict[str, dict[str, Any]] = {
    "a.jpg": {},
    "progressive.jpg": {"progressive": True, "subsampling": 0},
    "a.png": {},
    "alpha.png": {"alpha": True},
    "a.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "alpha.tif": {"alpha": True},
    "grey.tif": {"compression": "tiff_adobe_deflate"},
    "grey16.tif": {"compression": "tiff_adobe_deflate"},
    "a.bmp": {},
    "a.ppm": {},
    "a.webp": {"method": 0},
    "alpha.webp": {"alpha": True, "method": 0},
    "a.gif": {},
    "a.jp2": {},
    "a.avif": {"speed": 10},
    "a.heic": {"quality": 30},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FORMATS))
def test_each_format_takes_no_more_than_is_estimated(tmp_path: Path, name: str) -> None:
    options = dict(FORMATS[name])
    if name.endswith("heic") and not register_heif():
        pytest.skip("needs pillow-heif")
    image = scene(2400, 1600)
    if options.pop("alpha", False):
        image.putalpha(image.convert("L"))
    if name.startswith("grey"):
        image = image.convert("L")
    if name == "grey16.tif":
        image = Image.fromarray(np.asarray(image, np.uint16) * 257)
    image.save(tmp_path / name, **options)
    target = "result" + (Path(name).suffix if not name.endswith(("gif", "jp2")) else ".png")
    status, peak, estimate, error = measured(tmp_path, tmp_path / name, target, 2048)
    assert (status, error) == ("done", "None")
    assert peak <= estimate + 24


COMPRESS = """
from pathlib import Path
import numpy as np
from rave_runtime.photos.tiff.strips import compress_pixels

def mib(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) / 1024

pixels = np.random.default_rng(0).integers(0, 1 << 12, (2000, 4000, 1), np.uint16)
Path("/proc/self/clear_refs").write_text("5")
before = mib("VmRSS")
strips = compress_pixels(pixels, {"compression": "tiff_adobe_deflate"}, "<")
print(mib("VmHWM") - before, sum(map(len, strips.content)) / 2**20)
"""


def test_compressing_a_tiff_takes_little_more_than_its_result() -> None:
    """Of a scan of 50 megapixels it took 9 GB, since a growing result was copied every 64 KiB."""
    done = subprocess.run([sys.executable, "-c", COMPRESS], capture_output=True, text=True, check=True)
    peak, result = map(float, done.stdout.split())
    assert result > 12
    assert peak < result + 8


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(3_000_000, 1), (1, 3_000_000), (300_000, 10), (10, 300_000)])
def test_each_shape_takes_no_more_than_is_estimated(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "a.png").write_bytes(empty_png(width, height))
    status, peak, estimate, error = measured(tmp_path, tmp_path / "a.png", "result.png", 4096)
    assert status in ("done", "failed"), error
    assert peak <= estimate + 64


@pytest.mark.parametrize(
    ("width", "height", "bits", "colour"),
    [(15000, 15000, 8, 2), (30_000_000, 1, 8, 2), (15000, 15000, 8, 0), (5000, 5000, 16, 6)],
)
def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, width: int, height: int, bits: int, colour: int
) -> None:
    (tmp_path / "a.png").write_bytes(empty_png(width, height, bits, colour))
    status, peak, _, error = measured(tmp_path, tmp_path / "a.png", "result.png", 64)
    assert status == "failed"
    assert "more than the limit of 64 MiB: give --memory-limit" in error
    assert peak < 32


@pytest.mark.parametrize("mode", ["L", "I;16", "1"])
def test_a_grey_scan_needs_less_than_one_in_colour(tmp_path: Path, mode: str) -> None:
    """600 megapixels of grey were refused where they take 3 GB of the 12 GB that there were."""
    place = tmp_path / "a.tif"
    Image.new(mode, (400, 300)).save(place)
    as_png = estimate_need(place, 144, "PNG").photo_bytes  # may have to become colour
    assert estimate_need(place, 144).photo_bytes < 0.6 * as_png


def test_a_long_text_changes_nothing(tmp_path: Path) -> None:
    plain = empty_png(3000, 2000)
    text = b"Comment\0\0" + zlib.compress(b"x" * (3 << 20))
    (tmp_path / "plain.png").write_bytes(plain)
    (tmp_path / "text.png").write_bytes(plain[:33] + chunk(b"zTXt", text) + plain[33:])
    assert (
        0
        <= estimate_need(tmp_path / "text.png").photo_bytes
        - estimate_need(tmp_path / "plain.png").photo_bytes
        < MIB
    )


def test_a_header_that_says_nothing_gets_what_surely_fits() -> None:
    budget = MemoryBudget(64 * MIB)
    assert estimate_need(b"\x89PNG\r\n\x1a\n").megapixels is None
    assert budget.max_megapixels(Need(0)) < 1
    assert budget.max_megapixels(Need(10, megapixels=12.5)) == 12.5
    with budget.reserve(Need(0)):
        assert budget.max_megapixels(Need(0)) > 0.1


def test_a_tile_larger_than_its_picture_counts(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 30, 3), np.uint8), tile=(512, 512), photometric="rgb")
    need = estimate_need(tmp_path / "a.tif")
    assert need.megapixels == pytest.approx(512 * 512 / 1e6, rel=1e-4)


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [("TIFF", "1", {"compression": "group4"}), ("GIF", "P", {}), ("TIFF", "L", {"compression": "packbits"})],
)
def test_sizes_beyond_pillows_own_limit_are_read(format: str, mode: str, options: dict[str, Any]) -> None:
    """Photographs of more than 179 megapixels were refused as if --max-megapixels were less."""
    file = io.BytesIO()
    Image.new(mode, (14000, 13500)).save(file, format, **options)
    found = read_dimensions(file.getvalue())
    assert found is not None
    assert (found.width, found.height) == (14000, 13500)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_a_gif_is_refused_before_its_next_frame_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 65535 x 65535 pixels, of few bytes, took 4 GB while its size was read."""
    file = io.BytesIO()
    frames = [Image.new("P", (16, 16), colour) for colour in (3, 4)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], disposal=2)
    content = file.getvalue().replace(struct.pack("<HH", 16, 16), struct.pack("<HH", 65535, 65535), 2)
    monkeypatch.setattr(Image.core, "fill", lambda *_: pytest.fail("memory was taken"))  # type: ignore[attr-defined]
    found = read_dimensions(content)
    assert found is not None
    assert (found.width, found.height) == (65535, 65535)
    with pytest.raises(PhotoError, match="is 65535 x 65535, over the limit of 300 megapixels"):
        read_photo(content)
