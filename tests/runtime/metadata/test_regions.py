# ruff: noqa: E501
"""Regions, subjects and panoramas turn with the pixels; every form of a value counts."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
import pytest

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.xmp import (
    upright_xmp,
)
from tests.runtime.handmade import exif, png, png_chunk
from tests.runtime.metadata.packets import FACE, SUBJECT, packet
from tests.runtime.zoo.animal import HAS_HEIF, save

FACE_ELEMENTS = """<mwg-rs:Regions><rdf:Description><mwg-rs:AppliedToDimensions rdf:parseType="Resource"><stDim:h>{h}</stDim:h>
<stDim:w>{w}</stDim:w></mwg-rs:AppliedToDimensions><mwg-rs:RegionList><rdf:Bag><rdf:li><rdf:Description><mwg-rs:Area
 rdf:parseType="Resource"><stArea:y>{cy}</stArea:y><stArea:x> {cx} </stArea:x><stArea:h>{rh}</stArea:h><stArea:w>{rw}</stArea:w>
</mwg-rs:Area></rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList></rdf:Description></mwg-rs:Regions>"""
PEOPLE = """<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag><rdf:li MPReg:Rectangle="{l}, {t}, {rw}, {rh}"/>
</rdf:Bag></MPRI:Regions></MP:RegionInfo>"""
BOUNDARY = """<Iptc4xmpExt:ImageRegion><rdf:Bag><rdf:li rdf:parseType="Resource"><Iptc4xmpExt:RegionBoundary
 rdf:parseType="Resource"><Iptc4xmpExt:rbShape>rectangle</Iptc4xmpExt:rbShape><Iptc4xmpExt:rbUnit>relative</Iptc4xmpExt:rbUnit>
<Iptc4xmpExt:rbX>{l}</Iptc4xmpExt:rbX><Iptc4xmpExt:rbY>{t}</Iptc4xmpExt:rbY><Iptc4xmpExt:rbW>{rw}</Iptc4xmpExt:rbW>
<Iptc4xmpExt:rbH>{rh}</Iptc4xmpExt:rbH></Iptc4xmpExt:RegionBoundary></rdf:li></rdf:Bag></Iptc4xmpExt:ImageRegion>"""
POLYGON = """<Iptc4xmpExt:RegionBoundary rdf:parseType="Resource"><Iptc4xmpExt:rbUnit>pixel</Iptc4xmpExt:rbUnit>
<Iptc4xmpExt:rbVertices><rdf:Seq><rdf:li Iptc4xmpExt:rbX="{pl}" Iptc4xmpExt:rbY="{pt}"/><rdf:li Iptc4xmpExt:rbX="{pr}"
 Iptc4xmpExt:rbY="{pb}"/></rdf:Seq></Iptc4xmpExt:rbVertices></Iptc4xmpExt:RegionBoundary>"""
PANORAMA = """<GPano:LargestValidInteriorRectLeft>{pl}</GPano:LargestValidInteriorRectLeft>
<GPano:LargestValidInteriorRectTop>{pt}</GPano:LargestValidInteriorRectTop>
<GPano:LargestValidInteriorRectWidth>{pw}</GPano:LargestValidInteriorRectWidth>
<GPano:LargestValidInteriorRectHeight>{ph}</GPano:LargestValidInteriorRectHeight>"""

LEFT, TOP, WIDTH, HEIGHT = 32, 8, 16, 24
STORED_WIDTH, STORED_HEIGHT = 80, 40


def values(text: str, *names: str) -> list[float]:
    """The numbers of those names, attributes or elements, in their order."""
    found = []
    for name in names:
        match = re.search(rf"\b{name}(?:\s*=\s*[\"']|>)\s*([-0-9.]+)", text)
        assert match, (name, text)
        found.append(float(match[1]))
    return found


def box_of(kind: str, text: str, width: int, height: int) -> list[float]:
    """Left, top, right and bottom in pixels of the box that a packet states."""
    if kind.startswith("face"):
        x, y, w, h = values(text, "stArea:x", "stArea:y", "stArea:w", "stArea:h")
        assert values(text, "stDim:w", "stDim:h") == [width, height]
        return [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
    if kind == "subject":
        x, y, w, h = (float(each) for each in re.findall(r"<rdf:li>([-0-9.]+)<", text))
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    if kind == "people":
        match = re.search(r'MPReg:Rectangle="([^"]+)"', text)
        assert match
        x, y, w, h = (float(each) for each in match[1].split(","))
    elif kind == "boundary":
        x, y, w, h = values(text, "Iptc4xmpExt:rbX", "Iptc4xmpExt:rbY", "Iptc4xmpExt:rbW", "Iptc4xmpExt:rbH")
    elif kind == "polygon":
        corners = [[float(each) for each in re.findall(rf'rb{name}="([-0-9.]+)"', text)] for name in "XY"]
        return [min(corners[0]), min(corners[1]), max(corners[0]), max(corners[1])]
    else:
        x, y, w, h = values(
            text, *(f"LargestValidInteriorRect{each}" for each in ("Left", "Top", "Width", "Height"))
        )
        return [x, y, x + w, y + h]
    return [x * width, y * height, (x + w) * width, (y + h) * height]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "template"),
    [
        ("face", FACE),
        ("face in elements", FACE_ELEMENTS),
        ("subject", SUBJECT),
        ("people", PEOPLE),
        ("boundary", BOUNDARY),
        ("polygon", POLYGON),
        ("panorama", PANORAMA),
    ],
)
def test_places_turn_with_the_pixels(kind: str, template: str, orientation: int) -> None:
    pixels = np.zeros((STORED_HEIGHT, STORED_WIDTH, 3), np.uint8)
    pixels[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH] = 255
    numbers: dict[str, Any] = {
        "w": STORED_WIDTH,
        "h": STORED_HEIGHT,
        "cx": (LEFT + WIDTH / 2) / STORED_WIDTH,
        "cy": (TOP + HEIGHT / 2) / STORED_HEIGHT,
        "l": LEFT / STORED_WIDTH,
        "t": TOP / STORED_HEIGHT,
        "rw": WIDTH / STORED_WIDTH,
        "rh": HEIGHT / STORED_HEIGHT,
        "px": LEFT + WIDTH // 2,
        "py": TOP + HEIGHT // 2,
        "pw": WIDTH,
        "ph": HEIGHT,
        "pl": LEFT,
        "pt": TOP,
        "pr": LEFT + WIDTH,
        "pb": TOP + HEIGHT,
    }
    xmp = packet(template.format(**numbers))
    chunks = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    chunks += png_chunk(b"eXIf", exif({0x0112: (3, orientation)})[6:])
    photo = read_photo(png(pixels, 2, before=chunks))
    rows, columns = np.nonzero(photo.pixels[..., 0])
    shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    height, width = photo.pixels.shape[:2]
    for content in (photo.xmp, read_photo(encode_photo(photo, photo.pixels, "PNG").content).xmp):
        assert content is not None
        assert box_of(kind, content.decode(), width, height) == pytest.approx(shown, abs=0.01)
    if orientation == 1:
        assert photo.xmp == xmp


@pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_turned", [True, False])
def test_places_in_a_heic_turn_where_its_container_turns_the_pixels(
    is_turned: bool, orientation: int
) -> None:
    """As iPhones write it: the container turns the picture, and EXIF says so to those who ignore it."""
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[16:32, 32:64] = 255
    inner = struct.pack("<HHHI4H", 1, 0x9214, 3, 2, 48, 24, 0, 0)
    block = exif({0x0112: (3, orientation)}, inner=inner)
    xmp = packet(FACE.format(w=128, h=64, cx=0.375, cy=0.375, rw=0.25, rh=0.25))
    content = save(pixels, "HEIF", quality=95, exif=block, xmp=xmp)
    if not is_turned:
        content = content.replace(b"irot", b"free").replace(b"imir", b"free")
    photo = read_photo(content)
    rows, columns = np.nonzero(photo.pixels[..., 0] > 128)
    shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    height, width = photo.pixels.shape[:2]
    assert (photo.exif or b"").count(struct.pack("<HHI", 0x9214, 3, 2)) == 1
    place = (photo.exif or b"").index(struct.pack("<HHI", 0x9214, 3, 2)) + 8
    x, y = struct.unpack_from("<HH", photo.exif or b"", place)
    assert (x, y) == pytest.approx(((shown[0] + shown[2]) / 2, (shown[1] + shown[3]) / 2), abs=3)
    assert box_of("face", (photo.xmp or b"").decode(), width, height) == pytest.approx(shown, abs=3)


def test_regions_that_are_upright_already_stay() -> None:
    numbers = {"w": STORED_HEIGHT, "h": STORED_WIDTH, "cx": 0.3, "cy": 0.2, "rw": 0.1, "rh": 0.1}
    content = packet(FACE.format(**numbers))
    assert upright_xmp(content, STORED_HEIGHT, STORED_WIDTH, 6) == content


def test_regions_in_pixels_turn_in_the_size_that_they_were_drawn_on() -> None:
    numbers = {"w": 800, "h": 400, "cx": 200, "cy": 100, "rw": 80, "rh": 40}
    content = packet(FACE.format(**numbers).replace("normalized", "pixel"))
    text = (upright_xmp(content, STORED_HEIGHT, STORED_WIDTH, 6) or b"").decode()
    assert values(text, "stArea:x", "stArea:y", "stArea:w", "stArea:h") == [300, 200, 40, 80]


def test_a_circle_keeps_its_size() -> None:
    body = '<Iptc4xmpExt:RegionBoundary Iptc4xmpExt:rbUnit="relative" Iptc4xmpExt:rbX="0.25" Iptc4xmpExt:rbY="0.5" Iptc4xmpExt:rbRx="0.1"/>'
    text = (upright_xmp(packet(body), STORED_HEIGHT, STORED_WIDTH, 6) or b"").decode()
    assert values(text, "rbX", "rbY", "rbRx") == [0.5, 0.25, 0.2]


@pytest.mark.parametrize("form", ["attributes", "elements"])
def test_a_panoramas_area_turns_in_its_sphere(form: str) -> None:
    numbers = {
        "FullPanoWidthPixels": 800,
        "FullPanoHeightPixels": 400,
        "CroppedAreaLeftPixels": 100,
        "CroppedAreaTopPixels": 50,
        "CroppedAreaImageWidthPixels": 200,
        "CroppedAreaImageHeightPixels": 120,
    }
    if form == "attributes":
        content = packet("", "".join(f' GPano:{name}="{value}"' for name, value in numbers.items()))
    else:
        content = packet("".join(f"<GPano:{name}>{value}</GPano:{name}>" for name, value in numbers.items()))
    text = (upright_xmp(content, 120, 200, 6) or b"").decode()
    assert values(text, *numbers) == [400, 800, 230, 100, 120, 200]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("count", [2, 3, 4])
def test_exifs_subject_turns_with_the_pixels(count: int, orientation: int, order: str) -> None:

    x, y, sides = 20, 10, [9, 5][: count - 2]
    start = 8 + 2 + 12 * 2 + 4
    area = struct.pack(f"{order}{count}H", x, y, *sides)
    entry = area if count == 2 else struct.pack(order + "I", start + 2 + 24 + 4)
    inner = struct.pack(order + "HHHI", 2, 0x9214, 3, count) + entry
    inner += struct.pack(order + "HHIHH", 0xA214, 3, 2, x, y) + bytes(4) + area
    block = exif({0x0112: (3, orientation)}, order, inner)
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[y, x] = 255
    photo = read_photo(png(pixels, 2, before=png_chunk(b"eXIf", block[6:])))
    rows, columns = np.nonzero(photo.pixels[..., 0])
    after = (photo.exif or b"")[6:]
    place = after.index(struct.pack(order + "HHI", 0x9214, 3, count)) + 8
    if count > 2:
        (place,) = struct.unpack_from(order + "I", after, place)
    found = struct.unpack_from(f"{order}{count}H", after, place)
    assert found[:2] == pytest.approx((columns[0], rows[0]), abs=1)
    turned = orientation >= 5 and count == 4
    assert list(found[2:]) == (sides[::-1] if turned else sides)
    location = after.index(struct.pack(order + "HHI", 0xA214, 3, 2)) + 8
    assert struct.unpack_from(order + "HH", after, location) == pytest.approx((columns[0], rows[0]), abs=1)


def test_a_subject_outside_of_the_picture_stays() -> None:
    content = packet(SUBJECT.format(px=4000, py=3000, pw=10, ph=10))
    assert upright_xmp(content, STORED_HEIGHT, STORED_WIDTH, 6) == content
