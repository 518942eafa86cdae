"""What a camera wrote into its raw file is in the result; instructions for developing are not."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime.cli.command import run_folder
from rave_runtime.photos.codecs.raw_metadata import raw_captions, raw_metadata
from rave_runtime.photos.colour import is_srgb
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.metadata.packet import read_packet
from rave_runtime.run.options import RunOptions
from tests.runtime.formats.raw.developed import as_jpeg, developed, make_scene, shown
from tests.runtime.formats.raw.raws import make_dng

rawpy = pytest.importorskip("rawpy")


def test_colours_are_stated_as_developed_whatever_the_camera_s_jpegs_have() -> None:
    photo = developed(adobe_rgb=True)
    assert is_srgb(photo.icc_profile)
    with Image.open(io.BytesIO(as_jpeg(photo))) as image:
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


@pytest.mark.parametrize("format", ["TIFF", "JPEG", "WEBP"])
def test_captions_of_a_raw_file_are_kept_or_missed_aloud(format: str) -> None:
    """They were lost without a word."""
    caption = b"\x1c\x02\x78\x00\x08a valley"
    photo = developed(iptc=caption)
    encoded = encode_photo(photo, photo.pixels, format)
    assert (caption in encoded.content) == (format != "WEBP")
    note = "its IPTC captions were left out: WEBP has no place for them"
    assert encoded.warnings == ((note,) if format == "WEBP" else ())
    assert raw_captions(b"FOVb") is None


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
    with Image.open(io.BytesIO(as_jpeg(developed()))) as image:
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

    jpeg = as_jpeg(developed())
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
