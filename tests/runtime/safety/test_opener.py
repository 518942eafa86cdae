"""One opener of pictures for all packages: no decoder beside those of photographs ever runs."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from rave_runtime.errors import PhotoError
from rave_runtime.photos.reading import load_rgb

ROOT = Path(__file__).parents[3]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def unguarded(file: Path) -> list[int]:
    """Lines that open a picture by whatever decoder its content asks for."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "open"
        and ast.unparse(node.func.value) in ("Image", "PIL.Image")
        and not any(word.arg == "formats" for word in node.keywords)
    ]


def test_no_package_opens_what_a_file_claims_to_be() -> None:
    packages = ("runtime/rave_runtime", "train/rave_train", "export/rave_export")
    places = {
        f"{file.relative_to(ROOT)}:{line}"
        for package in packages
        for file in sorted((ROOT / package).rglob("*.py"))
        for line in unguarded(file)
    }
    ours = {place for place in places if "photos/tiff/strips.py" in place}
    assert places == ours  # which opens what it has just written


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_postscript_never_runs_ghostscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript ran")

    monkeypatch.setattr("subprocess.Popen", run)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", run)
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(PhotoError, match="is not a picture"):
        load_rgb(tmp_path / name)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_every_kind_of_picture_becomes_rgb_of_8_bits() -> None:
    grey = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
    for image, name in (
        (Image.fromarray(grey), "PNG"),
        (Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"),
        (Image.merge("RGBA", [*[Image.fromarray(grey)] * 3, Image.new("L", (8, 6), 99)]), "PNG"),
    ):
        pixels = load_rgb(saved(image, name))
        assert pixels.shape == (6, 8, 3)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, np.repeat(grey[..., None], 3, 2))
        assert pixels.flags.writeable


def test_other_colour_spaces_become_srgb_and_turned_pictures_upright() -> None:
    from rave_runtime.photos.headers.colour_codes import PRIMARIES, SRGB_CURVE, make_profile

    profile = make_profile("Display P3", PRIMARIES[12], SRGB_CURVE)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (8, 6), (200, 100, 100))
    pixels = load_rgb(saved(image, "PNG", icc_profile=profile, exif=exif))
    assert pixels.shape == (8, 6, 3)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    shown = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    assert shown is not None
    np.testing.assert_array_equal(pixels[0, 0], shown.getpixel((0, 0)))
