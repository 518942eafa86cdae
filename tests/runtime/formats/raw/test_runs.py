"""Camera raw files in runs: no result is one, and what is damaged or lacks the extra is told."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.cli.command import preview_folder, run_folder
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.photos import formats
from rave_runtime.photos.codecs.raw import is_raw
from rave_runtime.photos.codecs.raw_kind import is_raw_tiff, why_incomplete
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.reading import load_rgb, read_photo
from rave_runtime.run.jobs import Naming, plan_jobs
from rave_runtime.run.memory import estimate_need
from rave_runtime.run.options import RunOptions
from tests.runtime.formats.raw.developed import OPTIONS, as_jpeg, encoded, make_scene, shown
from tests.runtime.formats.raw.raws import make_dng

rawpy = pytest.importorskip("rawpy")


def test_results_are_tiff_with_16_bits_and_the_camera_s_words(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "IMG_1.DNG"
    content = make_dng(make_scene(), preview=shown(make_scene()), orientation=6)
    source.write_bytes(content)
    (tmp_path / "in" / "IMG_1.xmp").write_text("<x/>")
    (tmp_path / "in" / "IMG_1.JPG").write_bytes(as_jpeg(read_photo(content)))
    results = run_folder(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert [(each.status, each.error) for each in results] == [("done", None)] * 2
    assert source.read_bytes() == content
    names = {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}
    assert names == {"IMG_1.tif", "IMG_1.JPG", "IMG_1.xmp"}
    with Image.open(tmp_path / "out" / "IMG_1.tif") as image:
        exif = image.getexif()
        assert image.size == (120, 160)
        assert (exif[258], exif[271], exif[274]) == ((16, 16, 16), "Testcam", 1)
        assert exif[34675] == read_photo(content).icc_profile
        assert exif.get_ifd(34665)[34855] == 400
        assert exif.get_ifd(34853)[1] == "N"
        assert not set(exif) & {330, 33421, 33422, 50706, 50721, 50728, 50778}


def test_jpeg_by_format_and_raw_beside_jpeg_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nef").write_bytes(make_dng(make_scene()))
    options = RunOptions(device="cpu", precision="fp32", working_size=64, format="jpeg")
    (result,) = run_folder(tmp_path / "in", tmp_path / "out", options)
    assert (result.status, result.job.target.name, result.warnings) == ("done", "a.jpg", ())
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.getexif()[272] == "Testcam One"
        assert image.info["icc_profile"]
    (tmp_path / "in" / "a.jpg").write_bytes((tmp_path / "out" / "a.jpg").read_bytes())
    with pytest.raises(UsageError, match=r"would both be written to .*: rename one, or --exclude one kind"):
        plan_jobs(tmp_path / "in", tmp_path / "new", naming=Naming("JPEG"))


@pytest.mark.parametrize("name", ["b.dng", "b.CR2", "b.nef"])
def test_no_result_gets_the_name_of_a_raw_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.dng").write_bytes(make_dng(make_scene()))
    with pytest.raises(UsageError, match=f"{name} asks for a format that is not written"):
        run_folder(tmp_path / "a.dng", tmp_path / name, OPTIONS)
    with pytest.raises(UsageError, match="--format dng cannot be written"):
        formats.parse_format("dng")
    assert not (tmp_path / name).exists()


def test_a_photograph_that_is_not_backlit_is_developed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    flat: NDArray[np.float64] = np.full((64, 64, 3), 0.5)
    (tmp_path / "in" / "a.dng").write_bytes(make_dng(flat))
    options = RunOptions(device="cpu", precision="fp32", working_size=64, only_backlit=True)
    (result,) = run_folder(tmp_path / "in", tmp_path / "out", options)
    assert (result.status, result.error) == ("copied", None)
    values = load_rgb(tmp_path / "out" / "a.tif")
    assert np.abs(values / 255 - encoded(flat)).max() < 0.02


def test_a_dry_run_tells_what_is_backlit(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scene: NDArray[np.float64] = np.repeat(np.repeat(make_scene(60, 80), 2, 0), 2, 1)
    (tmp_path / "in" / "a.dng").write_bytes(make_dng(scene))
    ((text, fate),) = preview_folder(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert fate == "enhanced"
    assert "backlit (score" in text
    assert text.endswith(f"{tmp_path / 'out' / 'a.tif'}")
    assert not (tmp_path / "out").exists()


def test_without_the_extra_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_dng(make_scene())
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(PhotoError, match=r"camera's raw file: pip install 'rave-backlit\[raw\]' to develop"):
        read_photo(content)
    assert read_dimensions(content) is None


def test_without_the_extra_folders_leave_raw_files_out_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.nef").write_bytes(b"x")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg")
    program = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'rawpy' else find(name, *rest)\n"
        "from pathlib import Path\n"
        "from rave_runtime.run.jobs import plan_jobs\n"
        "print([job.name for job in plan_jobs(Path(sys.argv[1]), Path(sys.argv[1] + '-out'))])"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['b.jpg']"
    assert "(.nef): pip install 'rave-backlit[raw]'" in done.stderr


def test_importing_the_runtime_does_not_import_the_extra() -> None:
    program = "import rave_runtime.run.options, sys; assert 'rawpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_size_and_memory_are_known_before_decoding(tmp_path: Path) -> None:
    content = make_dng(make_scene(), preview=shown(make_scene()))
    file = tmp_path / "a.dng"
    file.write_bytes(content)
    for source in (content, file):
        dimensions = read_dimensions(source)
        assert dimensions is not None
        assert (dimensions.format, dimensions.width, dimensions.height) == ("RAW", 160, 120)
        assert estimate_need(source).photo_bytes > 160 * 120 * 40
    with pytest.raises(PhotoError, match=r"is 160 x 120, over the limit of 0.01 megapixels"):
        read_photo(content, max_megapixels=0.01)


def test_truncated_files_fail_in_one_line() -> None:
    content = make_dng(make_scene(), preview=shown(make_scene()))
    for stop in range(8, len(content), len(content) // 40):
        with pytest.raises(PhotoError) as caught:
            read_photo(content[:stop])
        assert "\n" not in str(caught.value)
    at = content.index(struct.pack("<HHII", 273, 4, 1, 8))  # the strip of the sensor's values
    behind = bytearray(content)
    struct.pack_into("<I", behind, at + 8, len(content) - 1000)
    with pytest.raises(PhotoError, match="is damaged or truncated: 37400 bytes of pixels are missing"):
        read_photo(bytes(behind))
    assert why_incomplete(content) is None


def outcome_of(content: bytes) -> str:
    """What a photographer is told of a file: its size, or why there is none."""
    try:
        return str(read_photo(content, max_megapixels=1).pixels.shape)
    except PhotoError as error:
        return str(error)


def test_damaged_files_fail_in_one_line_or_give_a_picture() -> None:
    content = make_dng(make_scene(48, 64), preview=shown(make_scene(48, 64)))
    start = content.index(b"\xff\xd9") + 2  # behind the pixels: all that says what they are
    draw = random.Random(1)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(start, len(content))] = draw.randrange(256)
        assert "\n" not in outcome_of(bytes(damaged))


@pytest.mark.parametrize("mark", [b"IIRO", b"IIU\0", b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx ", b"FOVb"])
def test_raw_files_that_make_no_sense_are_refused(mark: bytes) -> None:
    with pytest.raises(PhotoError, match=r"raw file that LibRaw .* cannot read, or is damaged: convert it"):
        read_photo(mark.ljust(5000, b"\0"))


def test_usual_tiffs_are_no_raw_files() -> None:
    buffer = io.BytesIO()
    Image.fromarray(shown(make_scene())).save(buffer, "TIFF")
    assert not is_raw(buffer.getvalue())
    assert not is_raw_tiff(io.BytesIO(b"II*\0"))
    assert read_photo(buffer.getvalue()).format == "TIFF"
