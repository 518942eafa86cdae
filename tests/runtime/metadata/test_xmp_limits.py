"""XMP is read under limits and in linear time; what is damaged stays or goes with a word."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import orientation_of
from rave_runtime.photos.metadata.packet import read_packet
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.xmp import (
    further_pictures,
    orientation_in_xmp,
    upright_xmp,
    without_extension,
)
from tests.runtime.handmade import exif, jpeg_with, png, png_chunk, scene
from tests.runtime.metadata.packets import FACE, SEGMENT, SUBJECT, packet
from tests.runtime.zoo.animal import save

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
        packet("", "".join(f' a{i}=""' for i in range(200_001))),
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
