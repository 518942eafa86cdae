"""The mark in XMP: results say that they were enhanced, and are left as they are when they come again."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rave_runtime import Enhancer, __version__
from rave_runtime.cli.command import preview_folder, run_folder
from rave_runtime.photos.decoders import register_heif
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.formats import FORMATS, WRITTEN_FORMATS
from rave_runtime.photos.metadata.mark import Mark, mark_xmp, read_mark
from rave_runtime.photos.png import raw_profile
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.one_photo import enhance_content, mark_of
from rave_runtime.run.options import RunOptions
from tests.runtime.pictures import MakePicture
from tests.runtime.zoo.animal import HAS_JXL

OPTIONS = RunOptions(device="cpu", precision="fp32", working_size=32)
MARK = Mark("1.2.3", "embedded", "0123456789abcdef", "0.7", "0.5")
BODY = (
    '<rdf:Description rdf:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">Zoë</rdf:li>'
    "</rdf:Alt></dc:title></rdf:Description>"
)
PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f"{BODY}</rdf:RDF></x:xmpmeta>"
)
WITH_XMP = [row.name for row in FORMATS if row.is_written and row.has_metadata]


@pytest.fixture(scope="module")
def small() -> Enhancer:
    return Enhancer(precision="fp32", device="cpu", working_size=32, threads=1, strength=0.7)


def require_codec(format: str) -> None:
    if format == "HEIF" and not register_heif():
        pytest.skip("needs pillow-heif")
    if format == "JXL" and not HAS_JXL:
        pytest.skip("needs pylibjxl and imagecodecs")


def saved(picture: MakePicture, format: str, **options: object) -> bytes:
    require_codec(format)
    buffer = io.BytesIO()
    Image.fromarray(picture(48, 64)).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", WITH_XMP)
@pytest.mark.parametrize("had", [True, False], ids=["with XMP", "without XMP"])
def test_results_say_that_they_were_enhanced(
    small: Enhancer, picture: MakePicture, format: str, had: bool
) -> None:
    require_codec(format)
    content = saved(picture, "JPEG", **({"xmp": PACKET.encode()} if had else {}))
    photo = read_photo(content)
    for source in (content, encode_photo(photo, photo.pixels, format).content):
        result = enhance_content(small, source, format=format)
        xmp = read_photo(result.content).xmp
        assert xmp is not None
        assert read_mark(xmp) == Mark(__version__, "embedded", small.manifest.model_hash, "0.7", "0.7")
        assert (BODY.encode() in xmp) == had
        assert not any("XMP" in warning for warning in result.warnings)


@pytest.mark.parametrize("format", [name for name in WRITTEN_FORMATS if name not in WITH_XMP])
def test_formats_without_xmp_carry_no_mark_and_say_nothing(
    small: Enhancer, picture: MakePicture, format: str
) -> None:
    result = enhance_content(small, saved(picture, "JPEG"), format=format)
    assert not result.warnings
    assert read_photo(result.content).xmp is None


@pytest.mark.parametrize("format", WITH_XMP)
def test_what_was_enhanced_is_left_as_it_is_unless_told(
    small: Enhancer, picture: MakePicture, format: str
) -> None:
    require_codec(format)
    first = enhance_content(small, saved(picture, "PNG"), format=format)
    assert (first.enhanced_before, first.is_unchanged) == (False, False)
    second = enhance_content(small, first.content)
    assert second.content == first.content
    assert (second.enhanced_before, second.is_unchanged) == (True, True)
    (warning,) = second.warnings
    assert warning == (
        f"was enhanced before, by rave-backlit {__version__} at strength 0.7, and was left as it is: "
        "--again enhances it once more"
    )
    third = enhance_content(small, first.content, again=True)
    assert third.content != first.content
    assert (third.enhanced_before, third.is_unchanged) == (True, False)
    assert any(warning.endswith("and once more now") for warning in third.warnings)
    xmp = read_photo(third.content).xmp
    assert xmp is not None
    assert xmp.count(b"rave:Version") == 1


def test_the_library_leaves_it_as_it_is_too(small: Enhancer, picture: MakePicture) -> None:
    first = small.enhance_bytes(saved(picture, "JPEG"))
    assert small.enhance_bytes(first.content).content == first.content
    assert small.enhance_bytes(first.content, again=True).content != first.content


def test_in_another_format_it_is_converted_and_keeps_its_mark(small: Enhancer, picture: MakePicture) -> None:
    first = enhance_content(small, saved(picture, "PNG"))
    as_tiff = enhance_content(small, first.content, format="TIFF")
    assert as_tiff.is_unchanged
    np.testing.assert_array_equal(read_photo(as_tiff.content).pixels, read_photo(first.content).pixels)
    assert read_mark(read_photo(as_tiff.content).xmp) == mark_of(small)


def test_what_was_not_enhanced_gets_no_mark(picture: MakePicture) -> None:
    content = saved(picture, "PNG")
    nothing = Enhancer(precision="fp32", device="cpu", working_size=32, threads=1, strength=0, highlights=0)
    assert read_mark(read_photo(enhance_content(nothing, content).content).xmp) is None
    lit = Enhancer(precision="fp32", device="cpu", working_size=32, threads=1)
    copied = enhance_content(lit, content, least_score=1.1)
    assert copied.content == content
    converted = enhance_content(lit, content, format="TIFF", least_score=1.1)
    assert read_photo(converted.content).xmp is None


def test_a_mark_is_replaced_and_all_else_stays() -> None:
    once = mark_xmp(PACKET.encode(), MARK)
    assert once is not None
    assert read_mark(once) == MARK
    assert b'rdf:about="uuid:1" xmlns:rdf' in once  # one subject for all descriptions
    other = replace(MARK, strength="1.5", model='"<Ä & b>"')
    twice = mark_xmp(once, other)
    assert twice is not None
    assert read_mark(twice) == other
    assert len(mark_xmp(twice, MARK) or b"") == len(once)
    assert BODY.encode() in twice


def test_a_mark_that_another_program_wrote_as_elements_is_read_and_replaced() -> None:
    elements = (
        '<rdf:Description rdf:about="" xmlns:r="https://github.com/rave-backlit/rave-backlit/ns/1.0/">'
        "<r:Version>1.2.3</r:Version><r:Strength>0.7</r:Strength></rdf:Description>"
    )
    packet = PACKET.replace("</rdf:RDF>", elements + "</rdf:RDF>").encode()
    mark = read_mark(packet)
    assert mark is not None
    assert (mark.version, mark.strength, mark.model) == ("1.2.3", "0.7", "")
    again = mark_xmp(packet, MARK)
    assert again is not None
    assert read_mark(again) == MARK
    assert b"<r:Version>" not in again


def test_packets_of_16_bits_keep_their_encoding() -> None:
    marked = mark_xmp(b"\xff\xfe" + PACKET.encode("utf-16-le"), MARK)
    assert marked is not None
    assert BODY in marked.decode("utf-16")
    assert read_mark(marked) == MARK


@pytest.mark.parametrize("packet", [b"", b"<x", PACKET[:-60].encode(), b"<a/>", b"\xff\xfe<", b"</rdf:RDF>"])
def test_damaged_packets_get_no_mark(packet: bytes) -> None:
    assert mark_xmp(packet, MARK) is None
    assert read_mark(packet) is None


def test_a_packet_that_fills_its_jpeg_stays_and_the_mark_is_left_out(
    small: Enhancer, picture: MakePicture
) -> None:
    room = 65533 - 29 - len(PACKET.encode()) - 50
    packet = PACKET.replace("Zoë", "Zoë" + "x" * room).encode()
    for source in (saved(picture, "JPEG", xmp=packet), saved(picture, "WEBP", xmp=packet)):
        result = enhance_content(small, source, format="JPEG")
        assert read_photo(result.content).xmp == packet


def test_xmp_of_imagemagick_s_png_becomes_one_packet(small: Enhancer, picture: MakePicture) -> None:
    info = PngInfo()
    info.add_text("Raw profile type xmp", raw_profile("xmp", PACKET.encode()), zip=True)
    result = enhance_content(small, saved(picture, "PNG", pnginfo=info))
    assert b"Raw profile type xmp" not in result.content
    xmp = read_photo(result.content).xmp
    assert xmp is not None
    assert BODY.encode() in xmp
    assert read_mark(xmp) == mark_of(small)


def test_a_folder_that_was_enhanced_is_copied_with_a_note(
    tmp_path: Path, picture: MakePicture, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(saved(picture, "JPEG"))
    run_folder(tmp_path / "in", tmp_path / "once", OPTIONS)
    (tmp_path / "once" / "b.png").write_bytes(saved(picture, "PNG"))
    ((first, _), (second, _)) = preview_folder(tmp_path / "once", tmp_path / "twice", OPTIONS)
    assert first.startswith("a.jpg was enhanced before, by rave-backlit")
    assert "would be copied to" in first
    assert "would go to" in second
    first_result, second_result = run_folder(tmp_path / "once", tmp_path / "twice", OPTIONS)
    assert (first_result.status, second_result.status) == ("copied", "done")
    assert first_result.enhanced_before
    assert (tmp_path / "twice" / "a.jpg").read_bytes() == (tmp_path / "once" / "a.jpg").read_bytes()
    run_folder(tmp_path / "once", tmp_path / "told", replace(OPTIONS, report=tmp_path / "page.html"))
    assert "1 enhanced · 1 left as is (enhanced before)" in (tmp_path / "page.html").read_text()
    resume = replace(OPTIONS, skip_existing=True)
    assert {each.status for each in run_folder(tmp_path / "once", tmp_path / "twice", resume)} == {"skipped"}
    again = replace(resume, again=True)  # made in another way: not up to date
    assert {each.status for each in run_folder(tmp_path / "once", tmp_path / "twice", again)} == {"done"}
    assert (tmp_path / "twice" / "a.jpg").read_bytes() != (tmp_path / "once" / "a.jpg").read_bytes()


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("format", WITH_XMP)
def test_exiftool_reads_the_mark(small: Enhancer, picture: MakePicture, tmp_path: Path, format: str) -> None:
    require_codec(format)
    file = tmp_path / "a"
    file.write_bytes(
        enhance_content(small, saved(picture, "JPEG", xmp=PACKET.encode()), format=format).content
    )
    done = subprocess.run(["exiftool", "-j", "-G1", "-a", file], capture_output=True, check=True)
    (tags,) = json.loads(done.stdout)
    assert tags["XMP-rave:Version"] == __version__
    assert str(tags["XMP-rave:Strength"]) == "0.7"
    assert tags["XMP-rave:ModelHash"] == small.manifest.model_hash
    assert (tags["XMP-xmp:Rating"], tags["XMP-dc:Title"]) == (4, "Zoë")
    assert "ExifTool:Warning" not in tags


@pytest.mark.parametrize(
    ("provenance", "model"),
    [({"recipe": "rave_train.recipes.embedded"}, "embedded"), ({"method": "clip-lit"}, "clip-lit"), ({}, "")],
)
def test_the_mark_names_the_recipe_or_else_the_method(provenance: dict[str, str], model: str) -> None:
    enhancer = Enhancer(device="cpu")
    vars(enhancer)["manifest"] = replace(enhancer.manifest, provenance=provenance)
    assert mark_of(enhancer).model == model
