"""Camera raw files are developed as their preview shows them, at 16 bits and upright."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.raw import _preview
from rave_runtime.photos.colour import is_srgb
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.reading import read_photo
from tests.runtime.formats.raw.developed import as_jpeg, developed, encoded, make_scene, shown
from tests.runtime.formats.raw.raws import make_dng

rawpy = pytest.importorskip("rawpy")


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
    with Image.open(io.BytesIO(as_jpeg(photo))) as image:
        assert image.getexif()[274] == 1
        details = image.getexif().get_ifd(34665)
    assert (details[40962], details[40963]) == upright.shape[1::-1]


@pytest.mark.parametrize(
    ("orientation", "place"), [(2, (0.8, 0.3)), (4, (0.2, 0.7)), (5, (0.3, 0.2)), (7, (0.7, 0.8))]
)
def test_faces_of_a_mirrored_file_are_mirrored(orientation: int, place: tuple[float, float]) -> None:
    """Film scanners mirror. The pixels were turned, and what the metadata say of places was not."""
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<r:Description xmlns:m="http://www.metadataworkinggroup.com/schemas/regions/" '
        'xmlns:a="http://ns.adobe.com/xmp/sType/Area#"><m:Regions r:parseType="Resource"><m:RegionList>'
        '<r:Bag><r:li><r:Description m:Name="Ann"><m:Area a:x="0.2" a:y="0.3" a:w="0.1" a:h="0.1" '
        'a:unit="normalized"/></r:Description></r:li></r:Bag></m:RegionList></m:Regions></r:Description>'
        "</r:RDF></x:xmpmeta>"
    )
    photo = developed(orientation=orientation, linear=True, xmp=packet.encode())
    plain = developed(linear=True).pixels
    mirrored = {
        2: plain[:, ::-1],
        4: plain[::-1],
        5: np.rot90(plain, 3)[:, ::-1],
        7: np.rot90(plain)[:, ::-1],
    }
    np.testing.assert_array_equal(photo.pixels, mirrored[orientation])
    assert photo.xmp is not None
    assert b'a:x="%g" a:y="%g"' % place in photo.xmp


def test_an_orientation_of_zero_is_none() -> None:
    """LibRaw takes it for 8: the picture lay on its side."""
    np.testing.assert_array_equal(developed(orientation=0).pixels, developed().pixels)


def test_stretched_pixels_count_towards_the_limit() -> None:
    """A small file could ask for ten times as many pixels as its size and its memory were counted with."""
    content = make_dng(make_scene(), scale=(1, 8))
    dimensions = read_dimensions(content)
    assert dimensions is not None
    assert (dimensions.width, dimensions.height) == read_photo(content).pixels.shape[1::-1] == (160, 960)
    with pytest.raises(PhotoError, match=r"is 160 x 960, over the limit of 0.1 megapixels"):
        read_photo(content, max_megapixels=0.1)


def test_a_preview_far_larger_than_the_picture_is_not_decoded() -> None:
    """A progressive one of 65,000 pixels a side is megabytes in a file, and many gigabytes in memory."""
    preview = shown(make_scene(480, 640), gain=2)
    assert np.array_equal(developed(preview=preview).pixels, developed().pixels)
    assert not np.array_equal(developed(preview=preview[::2, ::2]).pixels, developed().pixels)


def test_a_preview_of_another_kind_is_none() -> None:
    """Canon's CR3 for HDR PQ have one of HEVC, which rawpy does not know."""

    class Canon:
        def extract_thumb(self) -> None:
            raise NotImplementedError("thumb type: 4")

    assert _preview(Canon()) is None


@pytest.mark.skipif(shutil.which("dcraw") is None, reason="needs dcraw")
def test_dcraw_develops_the_same_picture(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(make_dng(make_scene()))
    command = ["dcraw", "-c", "-w", "-W", "-6", "-g", "2.4", "12.92", str(tmp_path / "a.dng")]
    done = subprocess.run(command, capture_output=True, check=True)
    theirs = read_photo(done.stdout).pixels / 65535
    ours = read_photo(tmp_path / "a.dng").pixels / 65535
    assert np.median(np.abs(theirs - ours)) < 0.01


@pytest.mark.parametrize("jpeg_xl", [False, True])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize(("bits", "black"), [(8, 0), (16, 0), (16, 2048)])
def test_values_become_linear_by_the_file_s_own_polynomials(
    bits: int, black: int, linear: bool, jpeg_xl: bool
) -> None:
    """Adobe's own sample of eight bits came out pink: what is spaced for the eye was taken for light."""
    if jpeg_xl:
        pytest.importorskip("imagecodecs")
    photo = developed(linear=linear, squared=bits, black=black, jpeg_xl=jpeg_xl)
    expected = developed(linear=linear).pixels.astype(int)
    differences = np.abs(photo.pixels.astype(int) - expected)
    assert np.quantile(differences, 0.99) <= (1500 if bits == 8 else 100)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("squared", [0, 16])
def test_corners_that_the_lens_leaves_dark_get_the_file_s_own_gains(linear: bool, squared: int) -> None:
    """LibRaw ignores them, so that Android phones' raw files had dark corners."""
    photo = developed(bits=16, linear=linear, shaded=True, squared=squared)
    expected = developed(bits=16, linear=linear).pixels.astype(int)
    assert np.quantile(np.abs(photo.pixels.astype(int) - expected), 0.99) <= 150


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (struct.pack(">2I", 5, 5), struct.pack(">2I", 5, 500)),
        (struct.pack(">2d", 0.25, 0.25), struct.pack(">2d", 0.25, 0)),
        (struct.pack(">f", 1), struct.pack(">f", np.nan)),
        (struct.pack(">4I", 9, 0x01030000, 0, 176), struct.pack(">4I", 9, 0x01030000, 0, 8)),
    ],
    ids=["too few gains", "no step", "no number", "no area"],
)
def test_gains_that_make_no_sense_are_damaged(old: bytes, new: bytes) -> None:
    content = make_dng(make_scene(), linear=True, shaded=True)
    assert old in content
    with pytest.raises(PhotoError, match=r"^is damaged: an operation on its values makes no sense$"):
        read_photo(content.replace(old, new))


def test_a_polynomial_that_makes_no_sense_is_damaged() -> None:
    content = make_dng(make_scene(), linear=True, squared=16)
    at = content.index(struct.pack(">4I", 1, 1, 1, 2)) + 12
    with pytest.raises(PhotoError, match=r"^is damaged: an operation on its values makes no sense$"):
        read_photo(content[:at] + struct.pack(">I", 3) + content[at + 4 :])
