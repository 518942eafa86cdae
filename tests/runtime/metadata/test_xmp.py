# ruff: noqa: E501
"""XMP: read under limits, in linear time, and turned with the picture; every form of a value counts."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import orientation_of
from rave_runtime.photos.metadata.packet import read_packet
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.xmp import (
    further_pictures,
    orientation_in_xmp,
    upright_xmp,
    without_extension,
)
from tests.runtime.handmade import exif, inner_exif, jpeg_with, png, png_chunk, scene
from tests.runtime.zoo.animal import HAS_HEIF, save

SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
NAMES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "Item": "http://ns.google.com/photos/1.0/container/item/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
    "dcterms": "http://purl.org/dc/terms/",
    "dc": "http://purl.org/dc/elements/1.1/",
}


def packet(body: str, attributes: str = "", names: dict[str, str] | None = None) -> bytes:
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in (names or NAMES).items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF {declared}><rdf:Description rdf:about=""{attributes}>{body}</rdf:Description></rdf:RDF>'
        "</x:xmpmeta><?xpacket end='w'?>"
    ).encode()


GROWING: dict[str, Callable[[int], bytes]] = {
    "blanks": lambda size: b" " * size,
    "items without an end": lambda size: b"<rdf:li " * (size // 8),
    "open items": lambda size: b"<rdf:li>" * (size // 8),
    "items": lambda size: packet("<rdf:li/>" * (size // 9)),
    "an orientation and blanks": lambda size: packet("", " tiff:Orientation" + " " * size + "='6'"),
    "thumbnails": lambda size: packet("<xmp:Thumbnails>" * (size // 16)),
    "quotes": lambda size: b"<a b='" + b"\"'" * (size // 2),
    "regions in regions": lambda size: packet(
        "<mwg-rs:Regions>" * 40
        + "<rdf:li stArea:x='1' stArea:y='1'/>" * (size // 36)
        + "</mwg-rs:Regions>" * 40
    ),
    "gain maps": lambda size: packet("", " hdrgm:Version" * (size // 14)),
    "names": lambda size: packet("".join(f'<b xmlns:p{i}="x"/>' for i in range(size // 24))),
    "attributes": lambda size: packet("", "".join(f' a{i}="{i}"' for i in range(size // 14))),
}


def duration_s(content: bytes) -> float:
    times = []
    for _ in range(3):
        read_packet.cache_clear()
        start = time.process_time()
        upright_xmp(content, 30, 40, 6)
        orientation_of(None, content)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("kind", GROWING)
def test_time_grows_as_the_packet_does(kind: str) -> None:
    """Two expressions were quadratic: sixteen times as many blanks took 256 times as long."""
    small, large = (duration_s(GROWING[kind](size)) for size in (16 << 10, 256 << 10))
    assert large < max(0.05, 60 * small), f"{small:.4f} s, then {large:.4f} s"
    assert large < 2


def test_a_png_whose_xmp_unpacks_to_blanks_is_read_at_once() -> None:
    chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" " * (8 << 20))
    start = time.perf_counter()
    photo = read_photo(png(scene(), 2, before=chunk))
    encode_photo(photo, photo.pixels, "PNG")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "hostile",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]><x tiff:Orientation="6">&b;</x>',
        b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><x tiff:Orientation="6"/>',
        b'<x tiff:Orientation="6">&undefined;</x>',
        b"<a>" * 200 + b"</a>" * 200,
        packet("<tiff:Orientation>6</tiff:Orientation>" * 50_000),
        packet("", "".join(f' a{i}=""' for i in range(250_000))),
        b" " * ((16 << 20) + 1),
    ],
    ids=["entities", "document type", "undefined", "depth", "kept", "attributes", "length"],
)
def test_what_no_photograph_needs_is_not_read(hostile: bytes) -> None:
    assert not read_packet(hostile).is_whole
    assert upright_xmp(hostile, 30, 40, 6) is None


def test_a_damaged_packet_stays_unless_it_had_to_be_turned() -> None:
    damaged = packet("<dc:title>R&D</dc:title>")
    block = exif({0x0112: (3, 6)})
    for orientation, kept in ((1, damaged), (6, None)):
        segments = [(0xE1, SEGMENT + damaged), *([(0xE1, block)] if orientation == 6 else [])]
        photo = read_photo(jpeg_with(save(scene(), "JPEG"), *segments))
        note = "its XMP is damaged and was left out: it could not be turned with the picture"
        assert photo.xmp == kept
        assert photo.warnings == ((note,) if orientation == 6 else ())
        assert (b"R&D" in encode_photo(photo, photo.pixels, "JPEG").content) == (kept is not None)


@given(st.binary(max_size=200), st.sampled_from([b"", b"<x:xmpmeta", b'<a tiff:Orientation="6">']))
def test_no_packet_breaks_the_reading(data: bytes, head: bytes) -> None:
    content = head + data
    assert orientation_in_xmp(content) in (None, *range(1, 9))
    upright_xmp(content, 30, 40, 1)
    upright_xmp(content, 30, 40, 5)
    further_pictures(content)
    without_extension(content)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_byte_changes_nothing_else(place: int, value: int) -> None:
    content = bytearray(packet(FACE + SUBJECT))
    content[place % len(content)] = value
    upright_xmp(bytes(content), 30, 40, 6)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_packets_in_any_encoding_are_corrected(encoding: str) -> None:
    text = packet("<dc:title>Grüße aus Köln</dc:title>", " tiff:Orientation='6'").decode()
    after = upright_xmp(text.encode(encoding), 30, 40, 6)
    assert after is not None
    assert after.decode(encoding) == text.replace("'6'", "'1'")
    assert orientation_in_xmp(text.encode(encoding)) == 6


def test_other_prefixes_and_an_xml_declaration_are_understood() -> None:
    names = {("t" if prefix == "tiff" else prefix): uri for prefix, uri in NAMES.items()}
    content = (
        b'<?xml version="1.0" encoding="UTF-8"?>' + packet("", " t:Orientation='8'", names).split(b"?>", 1)[1]
    )
    assert orientation_in_xmp(content) == 8
    foreign = {**NAMES, "tiff": "http://example.com/other/"}
    assert orientation_in_xmp(packet("", " tiff:Orientation='8'", foreign)) is None


FACE = """<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="{w}" stDim:h="{h}" stDim:unit="pixel"/>
<mwg-rs:RegionList><rdf:Bag><rdf:li rdf:parseType="Resource"><mwg-rs:Area stArea:x="{cx}" stArea:y="{cy}" stArea:w="{rw}"
 stArea:h="{rh}" stArea:unit="normalized"/><mwg-rs:Type>Face</mwg-rs:Type></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"""
FACE_ELEMENTS = """<mwg-rs:Regions><rdf:Description><mwg-rs:AppliedToDimensions rdf:parseType="Resource"><stDim:h>{h}</stDim:h>
<stDim:w>{w}</stDim:w></mwg-rs:AppliedToDimensions><mwg-rs:RegionList><rdf:Bag><rdf:li><rdf:Description><mwg-rs:Area
 rdf:parseType="Resource"><stArea:y>{cy}</stArea:y><stArea:x> {cx} </stArea:x><stArea:h>{rh}</stArea:h><stArea:w>{rw}</stArea:w>
</mwg-rs:Area></rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList></rdf:Description></mwg-rs:Regions>"""
SUBJECT = """<exif:SubjectArea><rdf:Seq><rdf:li>{px}</rdf:li><rdf:li>{py}</rdf:li><rdf:li>{pw}</rdf:li><rdf:li>{ph}</rdf:li>
</rdf:Seq></exif:SubjectArea>"""
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


def item(semantic: str, form: str) -> str:
    if form == "attributes":
        return f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{semantic}" Item:Length="9"/></rdf:li>'
    if form == "elements":  # as ExifTool writes it
        return (
            "<rdf:li rdf:parseType='Resource'>\n <Container:Item rdf:parseType='Resource'>\n  <Item:Length>9</Item:Length>"
            f"\n  <Item:Semantic>{semantic}</Item:Semantic>\n </Container:Item>\n</rdf:li>"
        )
    return f"<rdf:li><rdf:Description><Container:Item><rdf:Description Item:Semantic='{semantic}'/></Container:Item></rdf:Description></rdf:li>"


@pytest.mark.parametrize("semantic", ["GainMap", "MotionPhoto", "Depth", "ConfidenceMap", "Original"])
@pytest.mark.parametrize("form", ["attributes", "elements", "descriptions"])
def test_lists_of_pictures_promise_nothing_that_is_gone(form: str, semantic: str) -> None:
    def directory(*semantics: str) -> bytes:
        entries = "".join(item(each, form) for each in semantics)
        return packet(f"<Container:Directory><rdf:Seq>{entries}</rdf:Seq></Container:Directory>")

    content = directory("Primary", semantic)
    assert further_pictures(content) == (semantic,)
    assert upright_xmp(content, 56, 40) == directory("Primary")
    assert further_pictures(upright_xmp(content, 56, 40)) == ()


@pytest.mark.parametrize("form", ["attribute", "element"])
def test_gain_maps_and_credentials_are_promised_no_more(form: str) -> None:
    promises = {"hdrgm:Version": "1.0", "dcterms:provenance": "self#jumbf=c2pa/urn:uuid:1"}
    if form == "attribute":
        content = packet("", "".join(f' {name}="{value}"' for name, value in promises.items()))
    else:
        content = packet("".join(f"<{name}>{value}</{name}>" for name, value in promises.items()))
    assert upright_xmp(content, 56, 40) == packet("")
    elsewhere = packet("", ' dcterms:provenance="https://example.com/manifest"')
    assert upright_xmp(elsewhere, 56, 40) == elsewhere


def test_other_pictures_inside_a_packet_stay_as_they_are() -> None:
    pantry = "<xmpMM:Pantry><rdf:Bag><rdf:li tiff:Orientation='6' exif:PixelXDimension='9'/></rdf:Bag></xmpMM:Pantry>"
    content = packet(pantry, " tiff:Orientation='6'")
    assert orientation_in_xmp(content) == 6
    assert upright_xmp(content, 30, 40, 6) == packet(pantry, " tiff:Orientation='1'")
    assert orientation_in_xmp(packet(pantry)) is None


def test_a_second_packet_that_has_no_place_is_missed_aloud() -> None:
    main = packet("", ' xmpNote:HasExtendedXMP="0123" GDepth:Mime="image/png"')
    extension = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8) + b"<depth/>"
    photo = read_photo(jpeg_with(save(scene(), "JPEG"), (0xE1, SEGMENT + main), (0xE1, extension)))
    kept = encode_photo(photo, photo.pixels, "JPEG")
    assert (extension in kept.content, kept.warnings) == (True, ())
    for name in ("PNG", "TIFF", "WEBP"):
        encoded = encode_photo(photo, photo.pixels, name)
        assert encoded.warnings == ("its extended XMP was left out: only JPEG to JPEG keeps it",)
        assert read_photo(encoded.content).xmp == packet("")


def test_a_second_packet_is_not_turned_and_goes_with_a_word() -> None:
    main = packet("", ' tiff:Orientation="6" xmpNote:HasExtendedXMP="0123" GDepth:Mime="image/png"')
    extension = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8) + b"<depth/>"
    photo = read_photo(jpeg_with(save(scene(), "JPEG"), (0xE1, SEGMENT + main), (0xE1, extension)))
    assert photo.warnings == ("its extended XMP was left out: it cannot be turned with the picture",)
    for name in ("JPEG", "PNG"):
        encoded = encode_photo(photo, photo.pixels, name)
        assert extension not in encoded.content
        assert encoded.warnings == ()
        assert read_photo(encoded.content).xmp == packet("", ' tiff:Orientation="1"')


def test_metadata_of_a_picture_without_xmp_stays_none() -> None:
    photo = Photo(scene(), "PNG")
    assert photo.xmp is None
    assert further_pictures(None) == ()
    block = exif({0x0112: (3, 1)}, inner=inner_exif(56, 40, b"note", 8 + 2 + 12 * 2 + 4))
    assert orientation_of(block, None) == 1
