"""Ultra HDR JPEGs: the result's gain map fits the enhanced picture, and what announces it is right."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.cli.command import run_folder
from rave_runtime.photos.codecs.gain_map import GainMap, light_for, read_gain_map
from rave_runtime.photos.jpeg import GAIN_MAP_SEGMENT, jpeg_segments
from rave_runtime.photos.metadata.gain_map_facts import GainMapFacts, read_facts
from rave_runtime.photos.metadata.mark import read_mark
from rave_runtime.photos.reading import TURNS, read_photo
from rave_runtime.run.one_photo import enhance_content
from rave_runtime.run.options import RunOptions
from tests.runtime.formats.gain_maps import (
    HEIGHT,
    MOST,
    SCALE,
    WIDTH,
    XMP,
    adobe_facts,
    iso_facts,
    jpeg_of,
    make_scene,
    make_ultra_hdr,
    segment,
)

NOTE = "its HDR gain map was left behind"


@pytest.fixture(scope="module")
def small() -> Enhancer:
    return Enhancer(precision="fp32", device="cpu", working_size=64, threads=1)


def gain_map_of(content: bytes, orientation: int = 1) -> GainMap:
    found = read_gain_map(content, TURNS.get(orientation), 1 << 24)
    assert found is not None
    return found


def pictures_of(content: bytes) -> list[bytes]:
    """The pictures that the index names, by an own reading of it."""
    payload = next(data for _, data in jpeg_segments(content) if data.startswith(b"MPF\0"))
    base = content.index(payload) + 4
    order = ">" if payload[4:6] == b"MM" else "<"
    (count,) = struct.unpack_from(order + "H", payload, 12)
    entries = [struct.unpack_from(order + "HHII", payload, 14 + 12 * i) for i in range(count)]
    start = next(value for tag, _, _, value in entries if tag == 0xB002)
    rows = [struct.unpack_from(order + "IIIHH", payload, 4 + start + 16 * i) for i in range(2)]
    return [content[(base + at if at else 0) :][:size] for _, size, at, _, _ in rows]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_sun_stays_as_bright_and_the_shade_is_as_lifted(
    small: Enhancer, channels: int, orientation: int
) -> None:
    content = make_ultra_hdr(orientation, channels=channels)
    result = enhance_content(small, content)
    assert NOTE not in result.warnings
    before, after = read_photo(content), read_photo(result.content)
    old, new = gain_map_of(content, orientation), gain_map_of(result.content)
    assert new.gains.shape == old.gains.shape
    assert new.gains.shape[2] == channels
    offset = 1 / 64
    sdr, lifted = (light_for(old, photo.pixels)[..., None] + offset for photo in (before, after))
    hdr, new_hdr = sdr * 2**old.gains, lifted * 2**new.gains
    # The map's range stays. Where the enhanced sky is darker, the brightest parts lose as much.
    wanted = np.minimum(np.maximum(hdr, lifted), lifted * 2 ** old.gains.max())
    stops = np.abs(np.log2(new_hdr / wanted))
    assert np.quantile(stops, 0.98) < 0.05
    shade = old.gains < 0.01
    assert np.log2(lifted / sdr)[shade[..., :1]].mean() > 0.3, "the shade was lifted"
    assert np.abs(new.gains[shade]).max() < 0.05, "and is so on HDR screens"
    assert new.gains.max() > 1, "the sky is brighter there"
    assert (new.gains <= old.gains + 0.05)[lifted[..., 0] >= sdr[..., 0]].all()


def test_everything_that_announces_the_map_is_right(small: Enhancer) -> None:
    content = enhance_content(small, make_ultra_hdr()).content
    first, second = pictures_of(content)
    assert content == first + second
    assert second.startswith(b"\xff\xd8\xff")
    assert second.endswith(b"\xff\xd9")
    with Image.open(io.BytesIO(first)) as image:
        assert image.size == (WIDTH, HEIGHT)
        assert image.getexif()[271] == "Testcam"
    with Image.open(io.BytesIO(second)) as image:
        assert (image.size, image.mode) == ((WIDTH // SCALE, HEIGHT // SCALE), "L")
    assert read_facts(second) == GainMapFacts((0.0,), (MOST,), (1.0,), 1 / 64)
    packets = [data for _, data in jpeg_segments(first) if data.startswith(XMP)]
    assert len(packets) == 1
    text = packets[0].decode()
    assert text.count("<Container:Directory>") == 1
    assert text.count('hdrgm:Version="1.0"') == 1
    assert f'Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="{len(second)}"' in text
    assert 'xmp:Rating="3"' in text
    assert read_mark(packets[0].removeprefix(XMP)) is not None
    iso = [data for _, data in jpeg_segments(first) if data.startswith(GAIN_MAP_SEGMENT)]
    assert iso == [GAIN_MAP_SEGMENT + bytes(4)]
    assert [data for _, data in jpeg_segments(second) if data.startswith(GAIN_MAP_SEGMENT)] == [iso_facts()]
    again = enhance_content(small, content, again=True)
    assert [len(each) for each in pictures_of(again.content)] == [
        again.content.rindex(b"\xff\xd8\xff"),
        len(again.content) - again.content.rindex(b"\xff\xd8\xff"),
    ]
    assert enhance_content(small, content).content == content, "what was enhanced is copied with its map"


@pytest.mark.parametrize(
    "facts",
    [
        (segment(0xE1, adobe_facts()),),
        (segment(0xE2, iso_facts()),),
        (
            segment(
                0xE1,
                adobe_facts(
                    "",
                    f"<hdrgm:GainMapMax><rdf:Seq>{f'<rdf:li>{MOST}</rdf:li>' * 3}</rdf:Seq>"
                    "</hdrgm:GainMapMax>",
                ),
            ),
        ),
    ],
    ids=["Adobe's words", "ISO's numbers", "a list"],
)
def test_either_way_of_stating_the_facts_is_enough(small: Enhancer, facts: tuple[bytes, ...]) -> None:
    result = enhance_content(small, make_ultra_hdr(facts=facts, xmp=False, channels=3))
    assert NOTE not in result.warnings
    second = pictures_of(result.content)[1]
    assert read_facts(second) == read_facts(b"\xff\xd8" + b"".join(facts) + b"\xff\xda")


@pytest.mark.parametrize(
    "facts",
    [
        (segment(0xE1, XMP + b"<x/>"),),
        (segment(0xE1, adobe_facts('hdrgm:GainMapMax="nan"')),),
        (segment(0xE1, adobe_facts('hdrgm:GainMapMax="-1"')),),
        (segment(0xE1, adobe_facts('hdrgm:GainMapMax="2" hdrgm:BaseRenditionIsHDR="True"')),),
        (segment(0xE2, GAIN_MAP_SEGMENT + bytes(4)),),
        (segment(0xE2, iso_facts()[:40]),),
        (segment(0xE2, GAIN_MAP_SEGMENT + struct.pack(">HHB", 0, 0, 8) + bytes(60)),),
    ],
)
def test_maps_that_cannot_be_understood_are_left_behind_aloud(
    small: Enhancer, facts: tuple[bytes, ...]
) -> None:
    result = enhance_content(small, make_ultra_hdr(facts=facts))
    assert NOTE in result.warnings
    for trace in (b"MPF\0", b"hdrgm:Version", b"GainMap", GAIN_MAP_SEGMENT):
        assert trace not in result.content


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_other_formats_leave_the_map_behind_aloud(small: Enhancer, format: str) -> None:
    result = enhance_content(small, make_ultra_hdr(), format=format)
    assert NOTE in result.warnings
    assert b"hdrgm:Version" not in result.content


def test_damaged_indices_and_maps_do_no_harm(small: Enhancer) -> None:
    content = make_ultra_hdr()
    at = content.index(b"MPF\0")
    rng = np.random.default_rng(3)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(at, at + 90, 2):
            damaged[place] = rng.integers(256)
        found = read_gain_map(bytes(damaged), None, 1 << 24)
        assert found is None or np.isfinite(found.gains).all()
    assert read_gain_map(content[: content.rindex(b"\xff\xd8\xff") + 300], None, 1 << 24) is None
    assert read_gain_map(content, None, 100) is None


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_photograph_without_a_map_gets_one_where_it_is_asked_for(small: Enhancer, format: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(make_scene()[0]).save(buffer, format)
    content = buffer.getvalue()
    assert b"MPF\0" not in enhance_content(small, content, format="JPEG").content
    result = enhance_content(small, content, format="JPEG", hdr=True)
    assert result.warnings == ()
    made = gain_map_of(result.content)
    assert made.gains.shape == (HEIGHT, WIDTH, 1), "a small picture's map is as large"
    assert made.gains[: HEIGHT // 10].mean() > 0.3, "the sky is brighter on HDR screens"
    assert np.abs(made.gains[-HEIGHT // 10 :]).max() < 0.02, "and the lifted shade is as on others"
    first, second = pictures_of(result.content)
    assert result.content == first + second
    assert read_facts(second) == GainMapFacts((0.0,), (2.0,), (1.0,), 1 / 64)
    for marker in (0xE1, 0xE2):  # either way of stating the facts is enough
        alone = [segment(kind, data) for kind, data in jpeg_segments(second) if kind == marker]
        assert read_facts(b"\xff\xd8" + alone[0] + b"\xff\xda") == read_facts(second)
    again = enhance_content(small, result.content, again=True)
    assert NOTE not in again.warnings


def test_no_map_is_made_in_vain(small: Enhancer) -> None:
    flat = jpeg_of(np.full((64, 64, 3), 128, np.uint8))
    assert b"MPF\0" not in enhance_content(small, flat, hdr=True).content
    result = enhance_content(small, flat, format="PNG", hdr=True)
    assert "--hdr writes gain maps into JPEG only: --format jpeg gives one" in result.warnings
    kept = enhance_content(small, make_ultra_hdr(), hdr=True)
    assert read_facts(pictures_of(kept.content)[1]) == GainMapFacts((0.0,), (MOST,), (1.0,), 1 / 64)


def test_hdr_by_the_options_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg_of(make_scene()[0]))
    plain = RunOptions(device="cpu", precision="fp32", working_size=64, skip_existing=True)
    run_folder(tmp_path / "in", tmp_path / "out", plain)
    (result,) = run_folder(tmp_path / "in", tmp_path / "out", replace(plain, hdr=True))
    assert result.status == "done", "made in another way"
    assert len(pictures_of((tmp_path / "out" / "a.jpg").read_bytes())) == 2


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_exiftool_finds_the_map_where_it_is_said_to_be(small: Enhancer, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(enhance_content(small, make_ultra_hdr()).content)
    done = subprocess.run(["exiftool", "-j", "-G1", "-a", "-n", file], capture_output=True, check=True)
    (tags,) = json.loads(done.stdout)
    second = pictures_of(file.read_bytes())[1]
    assert tags["MPF0:NumberOfImages"] == 2
    assert tags["MPImage2:MPImageLength"] == len(second)
    assert tags["MPImage2:MPImageStart"] == len(file.read_bytes()) - len(second)
    assert not [tag for tag in tags if "arning" in tag]
    command = ["exiftool", "-b", "-MPImage2", str(file)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == second
