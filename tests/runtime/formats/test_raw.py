"""Camera raw files: developed as their preview shows them, with the camera's metadata, and never written."""

from __future__ import annotations

import io
import json
import random
import shutil
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
from rave_runtime.photos.codecs.raw_kind import is_raw_tiff, missing_bytes
from rave_runtime.photos.codecs.raw_metadata import raw_metadata
from rave_runtime.photos.colour import is_srgb
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.metadata.packet import read_packet
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import load_rgb, read_photo
from rave_runtime.run.jobs import Naming, plan_jobs
from rave_runtime.run.memory import estimate_need
from rave_runtime.run.options import RunOptions
from tests.runtime.raws import make_dng

rawpy = pytest.importorskip("rawpy")

OPTIONS = RunOptions(device="cpu", precision="fp32", working_size=64)


def encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def make_scene(height: int = 120, width: int = 160) -> NDArray[np.float64]:
    """A bright window in a dark room, linear: [h, w, 3]."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    scene = np.stack([0.02 + 0.06 * x, 0.02 + 0.06 * y, 0.03 + 0.03 * x * y], 2)
    scene[: height // 3, width // 2 :] = 0.7 + 0.3 * x[: height // 3, width // 2 :, None]
    return scene


def shown(scene: NDArray[np.float64], gain: float = 1.0) -> NDArray[np.uint8]:
    """What a camera's JPEG would show that is brighter than the sensor's values."""
    return (np.clip(encoded(scene * gain), 0, 1) * 255 + 0.5).astype(np.uint8)


def developed(**options: object) -> Photo:
    return read_photo(make_dng(make_scene(), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"bits": 12}, {"bits": 16}, {"linear": True}], ids=str)
def test_the_sensor_s_values_are_developed_at_16_bits(options: dict[str, object]) -> None:
    photo = developed(**options)
    assert (photo.format, str(photo.pixels.dtype), photo.pixels.shape) == ("RAW", "uint16", (120, 160, 3))
    assert is_srgb(photo.icc_profile)
    assert photo.icc_profile is not None
    wanted = encoded(make_scene())
    inside = (slice(50, 110), slice(10, 150))  # a mosaic is guessed at edges
    assert np.abs(photo.pixels[inside] / 65535 - wanted[inside]).max() < 0.01
    assert len(np.unique(photo.pixels)) > 500  # 8 bits have 256


def test_the_picture_is_as_bright_as_the_camera_s_preview() -> None:
    scene = make_scene() / 2
    photo = read_photo(make_dng(scene, preview=shown(scene, 3)))
    inside = (slice(50, 110), slice(10, 150))
    assert np.abs(photo.pixels[inside] / 65535 - encoded(scene * 3)[inside]).max() < 0.02


def test_highlights_roll_off_where_the_gain_would_clip_them() -> None:
    scene = make_scene()
    photo = read_photo(make_dng(scene, preview=shown(scene, 4)))
    window = photo.pixels[10, 85:155, 1].astype(int)
    assert (np.diff(window) >= 0).all()
    assert len(np.unique(window)) > 30
    assert window.max() > 0.97 * 65535


def test_without_a_preview_the_file_s_own_exposure_counts() -> None:
    plain, lifted = developed(), developed(baseline_ev=1.0)
    assert np.abs(lifted.pixels[60, 80] / 65535 - encoded(2 * make_scene()[60, 80])).max() < 0.01
    assert (lifted.pixels[60, 80] > plain.pixels[60, 80]).all()


@pytest.mark.parametrize("preview", [np.zeros((60, 80, 3), np.uint8), np.full((60, 80, 3), 255, np.uint8)])
def test_a_preview_without_midtones_says_nothing(preview: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(developed(preview=preview).pixels, developed().pixels)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_the_picture_is_upright(orientation: int, turns: int) -> None:
    photo = developed(orientation=orientation, linear=True)
    upright = np.rot90(developed(linear=True).pixels, turns)
    np.testing.assert_array_equal(photo.pixels, upright)
    with Image.open(io.BytesIO(_as_jpeg(photo))) as image:
        assert image.getexif()[274] == 1
        details = image.getexif().get_ifd(34665)
    assert (details[40962], details[40963]) == upright.shape[1::-1]


def _as_jpeg(photo: Photo) -> bytes:
    from rave_runtime.photos.encode import encode_photo

    return encode_photo(photo, photo.pixels, "JPEG").content


def test_results_are_tiff_with_16_bits_and_the_camera_s_words(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "IMG_1.DNG"
    content = make_dng(make_scene(), preview=shown(make_scene()), orientation=6)
    source.write_bytes(content)
    (tmp_path / "in" / "IMG_1.xmp").write_text("<x/>")
    (tmp_path / "in" / "IMG_1.JPG").write_bytes(_as_jpeg(read_photo(content)))
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
    with pytest.raises(UsageError, match="--format dng is unknown"):
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
    ((text, fails),) = preview_folder(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert not fails
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
    assert missing_bytes(content) == 0


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


def test_colours_are_stated_as_developed_whatever_the_camera_s_jpegs_have() -> None:
    photo = developed(adobe_rgb=True)
    assert is_srgb(photo.icc_profile)
    with Image.open(io.BytesIO(_as_jpeg(photo))) as image:
        assert image.getexif().get_ifd(34665)[40961] == 1


def test_xmp_inside_a_raw_file_is_kept_and_turned() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    xmp = developed(xmp=packet, orientation=6).xmp
    assert xmp is not None
    assert b'xmp:Rating="4"' in xmp
    assert b'tiff:Orientation="1"' in xmp


def test_instructions_for_developing_stay_behind() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" '
        b'xmlns:c="http://ns.adobe.com/camera-raw-settings/1.0/" c:Exposure2012="+2.00" c:Sharpness="40">'
        b"<c:ToneCurve><rdf:Seq><rdf:li>0, 0</rdf:li><rdf:li>255, 200</rdf:li></rdf:Seq></c:ToneCurve>"
        b"<xmp:Label>red</xmp:Label></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    xmp = developed(xmp=packet).xmp
    assert xmp is not None
    for kept in (b'xmp:Rating="4"', b"<xmp:Label>red</xmp:Label>"):
        assert kept in xmp
    for gone in (b"Exposure2012", b"Sharpness", b"ToneCurve", b"255, 200"):
        assert gone not in xmp
    assert read_packet(xmp).is_whole
    damaged = packet[:-40]
    assert developed(xmp=damaged).xmp == damaged


def _tree_of(exif: bytes | None) -> Image.Exif:
    tree = Image.Exif()
    assert exif is not None
    tree.load(exif)
    return tree


def test_exif_of_cr3_and_raf_and_olympus() -> None:
    with Image.open(io.BytesIO(_as_jpeg(developed()))) as image:
        block = image.info["exif"][6:]
    first = _block({271: "Canon", 272: "EOS R5", 274: 8})
    details, place = _block({34855: 800}), _block({1: "S"})
    inside = _box(b"CMT1", first) + _box(b"CMT2", details) + _box(b"CMT3", b"x") + _box(b"CMT4", place)
    own = _box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + inside)
    packet = _box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x:xmpmeta/>")
    cr3 = _box(b"ftyp", b"crx \0\0\0\1") + _box(b"moov", own) + packet
    exif, xmp, _ = raw_metadata(cr3, lambda: None)
    tree = _tree_of(exif)
    assert (tree[272], tree.get_ifd(34665)[34855], tree.get_ifd(34853)[1]) == ("EOS R5", 800, "S")
    assert xmp == b"<x:xmpmeta/>"

    jpeg = _as_jpeg(developed())
    raf = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 148, len(jpeg)) + bytes(56) + jpeg
    exif, _, _ = raw_metadata(raf, lambda: None)
    assert _tree_of(exif)[272] == "Testcam One"

    exif, _, _ = raw_metadata(b"IIRO" + block[4:], lambda: None)
    assert _tree_of(exif)[272] == "Testcam One"

    exif, _, _ = raw_metadata(b"FOVb", lambda: jpeg)
    assert _tree_of(exif)[272] == "Testcam One"
    assert raw_metadata(b"FOVb", lambda: None) == (None, None, ())


def _block(values: dict[int, object]) -> bytes:
    exif = Image.Exif()
    for tag, value in values.items():
        exif[tag] = value
    return exif.tobytes()[6:]


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("format", [None, "jpeg", "png", "webp"])
def test_exiftool_reads_the_same_words_before_and_after(tmp_path: Path, format: str | None) -> None:
    source = tmp_path / "a.dng"
    source.write_bytes(make_dng(make_scene(), preview=shown(make_scene())))
    options = RunOptions(device="cpu", precision="fp32", working_size=64, format=format)
    (result,) = run_folder(source, tmp_path / "out", options)
    before, after = (_tags(place) for place in (source, Path(str(result.job.target))))
    wanted = {tag: before[tag] for tag in before if tag.startswith(("ExifIFD:", "GPS:"))}
    wanted |= {f"IFD0:{name}": before[f"IFD0:{name}"] for name in ("Make", "Model", "Artist", "Copyright")}
    assert {tag: after.get(tag) for tag in wanted} == wanted
    assert len(wanted) > 14
    assert after["ICC_Profile:ProfileDescription"] == "sRGB"


def _tags(file: Path) -> dict[str, object]:
    done = subprocess.run(["exiftool", "-j", "-G1", "-n", file], capture_output=True, check=True)
    (tags,) = json.loads(done.stdout)
    return dict(tags)


@pytest.mark.skipif(shutil.which("dcraw") is None, reason="needs dcraw")
def test_dcraw_develops_the_same_picture(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(make_dng(make_scene()))
    command = ["dcraw", "-c", "-w", "-W", "-6", "-g", "2.4", "12.92", str(tmp_path / "a.dng")]
    done = subprocess.run(command, capture_output=True, check=True)
    theirs = read_photo(done.stdout).pixels / 65535
    ours = read_photo(tmp_path / "a.dng").pixels / 65535
    assert np.median(np.abs(theirs - ours)) < 0.01
