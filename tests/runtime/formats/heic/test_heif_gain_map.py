"""Gain maps of HEIC and AVIF: a JPEG gets one that fits, other results say what would keep it."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from rave_runtime import Enhancer
from rave_runtime.photos.codecs.gain_map import light_for, read_gain_map
from rave_runtime.photos.codecs.heif_gain_map import find_heif_gain_map, read_stops
from rave_runtime.photos.decoders import register_heif
from rave_runtime.photos.headers.items import read_items
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.one_photo import enhance_content
from tests.runtime.formats.gain_maps import MOST, adobe_facts, make_scene
from tests.runtime.formats.gain_maps import XMP as JPEG_XMP
from tests.runtime.formats.heic.heif_gain_maps import make_heif, tone_map

NOTE = "its HDR gain map was left behind"
HEADROOM = 5.0
SAMSUNG = b"urn:com:samsung:photo:2024:aux:hdrgainmap\0"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/" '
    f'HDRGainMap:HDRGainMapVersion="131072" HDRGainMap:HDRGainMapHeadroom="{HEADROOM}"/>'
    "</rdf:RDF></x:xmpmeta>"
).encode()
PIXELS, GAINS = make_scene()


@pytest.fixture(scope="module")
def small() -> Enhancer:
    return Enhancer(precision="fp32", device="cpu", working_size=64, threads=1)


def require_codec(format: str) -> None:
    if format == "HEIF" and not register_heif():
        pytest.skip("needs pillow-heif")
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("needs a Pillow with AVIF")


def make(format: str, kind: str, **options: Any) -> bytes:
    require_codec(format)
    if kind == "iso":
        return make_heif(format, PIXELS, GAINS, tone=tone_map(MOST), **options)
    if kind == "samsung":
        words = adobe_facts().removeprefix(JPEG_XMP)
        return make_heif(format, PIXELS, GAINS, aux_xmp=words, aux_type=SAMSUNG, **options)
    return make_heif(format, PIXELS, GAINS, **({"aux_xmp": XMP} | options))


def expected_stops(kind: str) -> Any:
    values = GAINS / 255
    if kind != "apple":
        return MOST * values
    linear = np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))
    return np.log2(1 + (HEADROOM - 1) * linear)


def apple_exif(numbers: dict[int, tuple[int, int]]) -> bytes:
    """An EXIF block with the notes of Apple's cameras."""
    entries, data, start = b"", b"", 14 + 2 + 12 * len(numbers) + 4
    for tag, ratio in sorted(numbers.items()):
        entries += struct.pack(">HHII", tag, 10, 1, start + len(data))
        data += struct.pack(">ii", *ratio)
    note = b"Apple iOS\0\0\1MM" + struct.pack(">H", len(numbers)) + entries + bytes(4) + data
    exif = Image.Exif()
    exif[271] = "Apple"
    exif.get_ifd(0x8769)[0x927C] = note
    return exif.tobytes()


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("kind", ["iso", "samsung", "apple"])
@pytest.mark.parametrize("turn", [None, 1])
def test_stops_are_read_upright(format: str, kind: str, turn: int | None) -> None:
    content = make(format, kind, turn=turn)
    photo = read_photo(content)
    assert photo.warnings == (NOTE,)
    found = find_heif_gain_map(content, photo.exif)
    assert found is not None
    quarter = Image.Transpose.ROTATE_90 if turn is not None and format == "AVIF" else None
    read = read_stops(found, quarter, 1 << 20)
    assert read is not None
    wanted = expected_stops(kind)
    np.testing.assert_allclose(read[0][..., 0], wanted if turn is None else np.rot90(wanted), atol=0.06)
    assert read_stops(found, None, 10) is None


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("kind", ["iso", "samsung", "apple"])
@pytest.mark.parametrize("turn", [None, 1])
def test_a_jpeg_gets_a_map_that_fits_the_enhanced_picture(
    small: Enhancer, format: str, kind: str, turn: int | None
) -> None:
    content = make(format, kind, turn=turn)
    before = read_photo(content)
    result = enhance_content(small, content, format="JPEG")
    assert not any("gain map" in warning for warning in result.warnings)
    found = read_gain_map(result.content, None, 1 << 20)
    assert found is not None
    after = read_photo(result.content)
    assert after.pixels.shape == before.pixels.shape
    wanted = expected_stops(kind)
    wanted = wanted if turn is None else np.rot90(wanted)
    offset = np.float32(found.facts.base_offset)
    lights = [light_for(found, photo.pixels) + offset + np.float32(1e-6) for photo in (before, after)]
    fitting = np.maximum(wanted - np.log2(lights[1] / lights[0]), np.minimum(wanted, 0))
    bright = lights[0] > 0.1
    assert np.abs(found.gains[..., 0] - fitting)[bright].mean() < 0.05
    assert found.gains[..., 0][~bright].max() < 0.2, "what was lifted is as bright on all screens"


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_a_photograph_that_is_left_as_it_is_keeps_its_map_in_a_jpeg(small: Enhancer, format: str) -> None:
    """What was not backlit lost it: its pixels are written anew, without being enhanced."""
    result = enhance_content(small, make(format, "iso"), format="JPEG", least_score=1.1)
    assert result.is_unchanged
    assert result.warnings == ("its pixels were not changed, but written as JPEG",)
    found = read_gain_map(result.content, None, 1 << 20)
    assert found is not None
    assert np.abs(found.gains[..., 0] - expected_stops("iso")).mean() < 0.1


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("kind", ["iso", "samsung", "apple"])
def test_other_results_say_what_keeps_it(small: Enhancer, format: str, kind: str) -> None:
    content = make(format, kind)
    for written in (None, "PNG"):
        result = enhance_content(small, content, format=written)
        assert f"{NOTE}: --format jpeg keeps it" in result.warnings
        assert read_photo(result.content).warnings == ()


@pytest.mark.parametrize(
    ("numbers", "stops"),
    [
        ({33: (1, 2), 48: (0, 1)}, 1.8),
        ({33: (1, 2), 48: (1, 1)}, 1.5),
        ({33: (11, 10), 48: (1, 1000)}, 2.93),
        ({33: (11, 10), 48: (1, 10)}, 2.2727),
        ({33: (11, 10)}, 3.0),
        ({48: (1, 100)}, 1.6),
        ({8: (1, 1)}, None),
        ({}, None),
    ],
)
def test_apple_s_headroom_may_stand_in_the_camera_s_notes(
    small: Enhancer, numbers: dict[int, tuple[int, int]], stops: float | None
) -> None:
    content = make("HEIF", "apple", aux_xmp=None, exif=apple_exif(numbers))
    found = find_heif_gain_map(content, read_photo(content).exif)
    if stops is None:
        assert found is None
        assert NOTE in enhance_content(small, content, format="JPEG").warnings
    else:
        assert found is not None
        assert np.log2(found.headroom) == pytest.approx(stops)


def test_a_map_of_three_channels_becomes_one() -> None:
    require_codec("HEIF")
    gains = np.repeat(GAINS[..., None], 3, 2)
    content = make_heif("HEIF", PIXELS, gains, tone=tone_map(MOST, 3))
    found = find_heif_gain_map(content, None)
    assert found is not None
    read = read_stops(found, None, 1 << 20)
    assert read is not None
    np.testing.assert_allclose(read[0][..., 0], expected_stops("iso"), atol=0.06)


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_map_that_the_file_does_not_turn_is_turned_as_its_photograph_is(
    small: Enhancer, format: str, turn: int
) -> None:
    """As a Galaxy S24 writes it."""
    content = make(format, "samsung", turn=turn, turned_map=False)
    result = enhance_content(small, content, format="JPEG")
    assert not any("gain map" in warning for warning in result.warnings)
    found = read_gain_map(result.content, None, 1 << 20)
    assert found is not None
    wanted = np.rot90(expected_stops("samsung"), turn)
    assert found.gains[..., 0].shape == wanted.shape
    assert found.gains[..., 0][wanted > 2].mean() > 1.5
    assert found.gains[..., 0][wanted < 0.2].mean() < 0.2


def test_a_map_that_is_turned_otherwise_is_left_behind(small: Enhancer) -> None:
    content = make("HEIF", "iso", turn=1)
    place = content.index(b"irot", content.index(b"irot") + 1) + 4
    content = content[:place] + b"\2" + content[place + 1 :]
    assert find_heif_gain_map(content, None) is None
    assert NOTE in enhance_content(small, content, format="JPEG").warnings


def test_numbers_that_make_no_sense_are_no_map() -> None:
    require_codec("HEIF")
    for tone in (b"", b"\1" + tone_map(MOST)[1:], tone_map(MOST)[:20], tone_map(0)):
        assert find_heif_gain_map(make_heif("HEIF", PIXELS, GAINS, tone=tone), None) is None
    for xmp in (None, b"", XMP):
        samsung = make_heif("HEIF", PIXELS, GAINS, aux_xmp=xmp, aux_type=SAMSUNG)
        assert find_heif_gain_map(samsung, None) is None
    for text in (b"1", b"0.5", b"900", b"1.2.3", b"x"):
        xmp = XMP.replace(str(HEADROOM).encode(), text)
        assert find_heif_gain_map(make_heif("HEIF", PIXELS, GAINS, aux_xmp=xmp), None) is None


@given(st.data())
def test_nothing_breaks_the_reading(data: st.DataObject) -> None:
    if not register_heif():
        return
    content = bytearray(_SAMPLES[data.draw(st.integers(0, 1))])
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, min(len(content) - 1, 1200)))
        content[place] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    for each in (bytes(content), cut):
        read_items(each)
        found = find_heif_gain_map(each, each)
        if found is not None:
            read_stops(found, None, 1 << 20)


_SAMPLES = (
    [make_heif("HEIF", PIXELS, GAINS, tone=tone_map(MOST)), make_heif("HEIF", PIXELS, GAINS, aux_xmp=XMP)]
    if register_heif()
    else []
)


def test_a_picture_without_a_map_has_none() -> None:
    require_codec("AVIF")
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "AVIF")
    assert find_heif_gain_map(buffer.getvalue(), None) is None
    assert find_heif_gain_map(b"", None) is None
