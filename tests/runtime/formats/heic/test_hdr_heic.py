"""HDR photographs (PQ and HLG), as Canon and Sony write them in HEIC: shade is lifted, and HDR stays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.hdr import hdr_of_view, sdr_values, sdr_view
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.photo import HdrOriginal
from rave_runtime.photos.reading import load_rgb, read_photo
from tests.runtime.cli.program import run_here

pillow_heif = pytest.importorskip("pillow_heif", reason="the extra `heif` is not installed")

PQ, HLG, BT2020, DISPLAY_P3 = 16, 18, 9, 12
NAMES = {PQ: "PQ", HLG: "HLG"}


def hdr_values(sdr: NDArray[np.floating[Any]], transfer: int) -> NDArray[np.uint16]:
    """Values of 10 bits, as the highest of 16 bits, from those of sRGB's curve, in which white is 1."""
    known = np.linspace(0, 1, 1 << 16)
    codes = 1023 * np.interp(sdr, sdr_values(known, transfer), known)
    return np.asarray(np.round(codes).astype(int) << 6, np.uint16)


def backlit(transfer: int) -> NDArray[np.uint16]:
    """A sky of 1.5 times white over a ground of 0.05 to 0.2 in sRGB's curve."""
    y, x = np.mgrid[0:192, 0:256]
    ground = 0.1 + 0.05 * np.sin(y / 7) + 0.03 * np.cos(x / 9)
    return hdr_values(np.where(y < 64, 1.5, ground)[..., None] * np.array([1, 0.95, 0.9]), transfer)


def heic(pixels: NDArray[np.uint16], transfer: int, primaries: int = BT2020, **options: Any) -> bytes:
    """Without loss."""
    height, width, channels = pixels.shape
    picture = pillow_heif.from_bytes(
        "RGB;16" if channels == 3 else "RGBA;16", (width, height), pixels.tobytes()
    )
    numbers = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 0}
    file = io.BytesIO()
    picture.save(file, quality=-1, chroma="444", **numbers, **options)
    return file.getvalue()


def numbers_of(content: bytes) -> tuple[int, int, int]:
    """Primaries, transfer and bits."""
    picture = pillow_heif.open_heif(content, convert_hdr_to_8bit=False)
    profile = picture.info["nclx_profile"]
    return profile["color_primaries"], profile["transfer_characteristics"], picture.info["bit_depth"]


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("primaries", [BT2020, DISPLAY_P3])
def test_its_shade_is_lifted_and_what_is_brighter_than_white_stays(
    tmp_path: Path, transfer: int, primaries: int
) -> None:
    before = backlit(transfer)
    (tmp_path / "a.hif").write_bytes(heic(before, transfer, primaries))
    done = run_here(tmp_path / "a.hif", tmp_path / "out", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    content = (tmp_path / "out" / "a.hif").read_bytes()
    assert numbers_of(content) == (primaries, transfer, 10)
    photo = read_photo(content)
    assert photo.hdr is not None
    after = photo.hdr.values / 65535
    old = (before >> 6) / 1023
    assert np.abs(after[:56] - old[:56]).max() < 0.003
    lifted = sdr_values(after[80:], transfer).mean() / sdr_values(old[80:], transfer).mean()
    assert lifted > 1.3


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_without_a_change_its_bytes_stay(transfer: int) -> None:
    stored = np.arange(1024, dtype=np.uint16).repeat(3).reshape(1, 1024, 3).repeat(64, 0) << np.uint16(6)
    photo = read_photo(heic(stored, transfer))
    encoded = encode_photo(photo, photo.pixels, "HEIF")
    assert encoded.warnings == ()
    again = read_photo(encoded.content)
    assert photo.hdr is not None
    assert again.hdr is not None
    np.testing.assert_array_equal(again.hdr.values, photo.hdr.values)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_every_change_comes_back(transfer: int) -> None:
    """The brightest channel decides what stays, and darker than black or brighter than white is nothing."""
    values = np.arange(0, 65536, 64, dtype=np.uint16)[None, :, None].repeat(3, 2)
    view = sdr_view(values, transfer)
    assert (np.diff(view[0, :, 0].astype(int)) >= 0).all()
    is_white = view[..., 0] == 65535
    darker = (view // 2).astype(np.uint16)
    back = hdr_of_view(HdrOriginal(values, BT2020, transfer), darker)
    np.testing.assert_array_equal(back[is_white], values[is_white])
    found = 65535 * sdr_values(back[~is_white] / 65535, transfer)
    np.testing.assert_allclose(found, darker[~is_white], atol=25)
    assert (hdr_of_view(HdrOriginal(values, BT2020, transfer), view) == values).all()


@pytest.mark.parametrize(("format", "dtype"), [("jpeg", np.uint8), ("tiff", np.uint16)])
def test_other_formats_get_what_sdr_shows(tmp_path: Path, format: str, dtype: Any) -> None:
    pytest.importorskip("tifffile")
    (tmp_path / "a.heic").write_bytes(heic(backlit(HLG), HLG))
    done = run_here(tmp_path / "a.heic", tmp_path / "out", "--device", "cpu", "--format", format)
    assert done.returncode == 0
    note = f"its HDR (HLG) ends at the white of other pictures in {format.upper()}: HEIC keeps it"
    assert note in done.stderr
    (file,) = (
        each for each in (tmp_path / "out").iterdir() if each.suffix in (".jpg", ".jpeg", ".tif", ".tiff")
    )
    photo = read_photo(file)
    assert photo.pixels.dtype == dtype
    assert photo.icc_profile is not None, "BT.2020"
    assert photo.hdr is None
    assert load_rgb(file)[:40].min() > 250


def test_a_network_sees_sdr_and_transparency_stays() -> None:
    stored = backlit(PQ)
    alpha = np.full((*stored.shape[:2], 1), 512 << 6, np.uint16)
    photo = read_photo(heic(np.dstack([stored, alpha]), PQ))
    assert photo.alpha is not None
    assert photo.hdr is not None
    assert photo.pixels[:40].min() == 65535
    assert load_rgb(heic(stored, PQ))[:40].min() == 255
    content = encode_photo(photo, photo.pixels, "HEIF").content
    again = read_photo(content)
    assert again.alpha is not None
    assert np.abs(again.alpha.astype(int) - photo.alpha).max() < 1000


def test_what_cannot_be_kept_as_hdr_is_refused() -> None:
    """Eight bits of PQ, and other formats of which the library reads eight."""
    file = io.BytesIO()
    pillow_heif.register_heif_opener()
    picture = Image.fromarray(np.full((32, 32, 3), 90, np.uint8))
    picture.save(file, "HEIF", color_primaries=BT2020, transfer_characteristics=PQ, matrix_coefficients=9)
    with pytest.raises(PhotoError, match=r"is an HDR picture \(PQ\)"):
        read_photo(file.getvalue())
