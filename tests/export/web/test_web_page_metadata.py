"""What the web page carries of unusual JPEGs, against Pillow's reading."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile, IptcImagePlugin

from rave_runtime.photos.exif import EXIF_HEADER
from rave_runtime.photos.jpeg import PHOTOSHOP_SEGMENT, XMP_SEGMENT, jpeg_segments, make_segment
from tests.export.web.chromium import Page
from tests.export.web.saving import CAPTION, EXIF_IFD, MAKER, ORIENTATION, resource, saved

SHORT, LONG, TEXT, BYTES = 3, 4, 2, 7
WIDTH, SUBJECT_AREA, COLOUR_SPACE, MAKER_NOTE = 0xA002, 0x9214, 0xA001, 0x927C
ABC = (MAKER, TEXT, 4, b"Abc\0")

COPIED = (
    "(async () => { const { open, encode } = await import('./picture.js');"
    " const content = Uint8Array.from(atob('CONTENT'), (each) => each.charCodeAt(0));"
    " const canvas = document.createElement('canvas');"
    " const opened = await open(new File([content], 'photo.jpg', { type: 'image/jpeg' }), canvas);"
    " const reader = new FileReader(), blob = await encode(canvas, opened, 'image/jpeg');"
    " return new Promise((done) => {"
    " reader.onload = () => done(reader.result); reader.readAsDataURL(blob); }); })()"
)


def copied(page: Page, segments: bytes, filled: bytes = b"") -> ImageFile.ImageFile:
    """What the page saves of a JPEG of 48 x 32 with some segments, were it not enhanced."""
    file = io.BytesIO()
    Image.new("RGB", (48, 32), (90, 80, 70)).save(file, "JPEG")
    content = file.getvalue()[:2] + filled + segments + file.getvalue()[2:]
    found = page.evaluate(COPIED.replace("CONTENT", base64.b64encode(content).decode()))
    return Image.open(io.BytesIO(base64.b64decode(found.partition(",")[2])), formats=["JPEG"])


def payloads(image: ImageFile.ImageFile, marker: int) -> list[bytes]:
    """What the segments of an opened JPEG hold, of those with a marker."""
    assert image.fp is not None
    image.fp.seek(0)
    return [payload for kind, payload in jpeg_segments(image.fp.read()) if kind == marker]


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def directory(*entries: tuple[int, int, int, bytes]) -> bytes:
    parts = (struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return struct.pack("<H", len(entries)) + b"".join(parts) + bytes(4)


def exif(*entries: tuple[int, int, int, bytes], rest: bytes = b"") -> bytes:
    return make_segment(0xE1, EXIF_HEADER + b"II*\0" + number(8) + directory(*entries) + rest)


def behind(entries: int) -> int:
    """Where something begins that follows a first directory."""
    return 8 + 2 + 12 * entries + 4


TURNED = (ORIENTATION, SHORT, 1, number(6))
LINK = (EXIF_IFD, LONG, 1, number(behind(1)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    ("segments", "size", "orientation"),
    [
        (exif(LINK, rest=directory(TURNED)), (32, 48), None),
        (exif(TURNED, (EXIF_IFD, LONG, 1, number(99999))), (32, 48), 1),
        (exif(ABC) + exif(TURNED), (48, 32), None),
        (make_segment(0xE1, XMP_SEGMENT + b'<x tiff:Orientation="6"/>'), (48, 32), 6),
    ],
    ids=["inside", "damaged", "second", "xmp"],
)
def test_the_orientation_is_1_where_the_browser_heeded_it(
    page: Page, segments: bytes, size: tuple[int, int], orientation: int | None
) -> None:
    """What it had turned was turned again, and what it had not turned lost its orientation."""
    result = copied(page, segments)
    found = result.getexif()
    assert (result.size, found.get(ORIENTATION)) == (size, orientation)
    assert found.get_ifd(EXIF_IFD).get(ORIENTATION, 1) == 1
    assert len(payloads(result, 0xE1)) == 1, "a further block, whose orientation no browser heeds"


def test_bytes_that_fill_are_passed_over(page: Page) -> None:
    """All that followed them was left out."""
    result = copied(page, exif(ABC) + b"\xff" * 5 + make_segment(0xFE, b"hi"), filled=b"\xff\xff")
    assert (result.getexif()[MAKER], result.info["comment"]) == ("Abc", b"hi")


def test_exif_may_need_more_than_a_segment(page: Page) -> None:
    """All of it was left out."""
    note = bytes(range(256)) * 400
    inner = directory((MAKER_NOTE, BYTES, len(note), number(behind(2) + 30)), (WIDTH, SHORT, 1, number(48)))
    outer = directory(TURNED, (EXIF_IFD, LONG, 1, number(behind(2))))
    whole = b"II*\0" + number(8) + outer + inner + note
    parts = (whole[at : at + 65527] for at in range(0, len(whole), 65527))
    result = copied(page, b"".join(make_segment(0xE1, EXIF_HEADER + part) for part in parts))
    joined = b"".join(each.removeprefix(EXIF_HEADER) for each in payloads(result, 0xE1))
    assert joined == whole.replace(number(6), number(1), 1).replace(number(48), number(32), 1)


def test_places_and_colours_are_those_of_the_result(page: Page) -> None:
    """The subject stayed where it had been, and the colours remained those of a profile that is gone."""
    area = struct.pack("<4H", 10, 5, 4, 2)
    inner = directory(
        (SUBJECT_AREA, SHORT, 4, number(behind(2) + 30)), (COLOUR_SPACE, SHORT, 1, number(65535))
    )
    outer = (TURNED, (EXIF_IFD, LONG, 1, number(behind(2))))
    found = copied(page, exif(*outer, rest=inner + area)).getexif().get_ifd(EXIF_IFD)
    assert (found[SUBJECT_AREA], found[COLOUR_SPACE]) == ((32 - 1 - 5, 10, 2, 4), 1)


def captions(result: ImageFile.ImageFile) -> Any:
    return (IptcImagePlugin.getiptcinfo(result) or {}).get((2, 0x78))


def test_captions_may_go_on_in_the_next_segment(page: Page) -> None:
    """They were cut off at its end."""
    whole = resource(1036, b"t" * 999) + resource(1028, CAPTION + b"\x1c\x02\x19\x00\x04word" * 8000)
    parts = [whole[at : at + 60000] for at in range(0, len(whole), 60000)]
    result = copied(page, b"".join(make_segment(0xED, PHOTOSHOP_SEGMENT + part) for part in parts))
    found = b"".join(each.removeprefix(PHOTOSHOP_SEGMENT) for each in payloads(result, 0xED))
    assert found == whole[999 + 13 :]


@pytest.mark.parametrize("length", [0xFFFFFFF4, 50])
def test_a_resource_of_a_wrong_length_ends_the_list(page: Page, length: int) -> None:
    """Of the first length the page never came to an end."""
    broken = b"8BIM\x04\x1a\0\0" + length.to_bytes(4, "big") + b"rest"
    result = copied(page, make_segment(0xED, PHOTOSHOP_SEGMENT + resource(1028, CAPTION) + broken))
    assert captions(result) == b"bridg"
    assert result.info["photoshop"].keys() == {1028}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"<x:x><tiff:Orientation> 6 </tiff:Orientation>", b"<x:x><tiff:Orientation> 1 </tiff:Orientation>"),
        (b"<x exif:PixelXDimension = '48'/>", b"<x exif:PixelXDimension = '32'/>"),
        (b'<x xmpNote:HasExtendedXMP="01" dc:a="b"/>', b'<x dc:a="b"/>'),
        (b"<x><xmp:Thumbnails>\n old</xmp:Thumbnails></x>", b"<x></x>"),
        (b"<x>Container: a ship</x>", b"<x>Container: a ship</x>"),
    ],
)
def test_xmp_in_its_many_forms(page: Page, given: bytes, expected: bytes) -> None:
    """Some were not corrected, and others took the whole packet with them."""
    result = copied(page, exif(TURNED) + make_segment(0xE1, XMP_SEGMENT + given))
    assert result.info["xmp"] == expected


def test_a_photograph_that_was_changed_since_is_still_saved(page: Page, tmp_path: Path) -> None:
    """The result could not be saved, since the data beside the pixels were read again."""
    Image.new("RGB", (60, 40), (90, 80, 70)).save(tmp_path / "photo.jpg", comment=b"first")
    page.choose(tmp_path / "photo.jpg")
    page.wait_for("done")
    (tmp_path / "photo.jpg").write_bytes(b"another")
    (content,) = saved(page)
    assert Image.open(io.BytesIO(content), formats=["JPEG"]).info["comment"] == b"first"


def test_what_the_encoder_writes_itself_is_left_out(page: Page) -> None:
    """Safari's writes EXIF and empty captions, so that results had two of each."""
    file = io.BytesIO()
    Image.new("RGB", (48, 32)).save(file, "JPEG")
    profile = b"ICC_PROFILE\0\1\1words"
    segments = exif((COLOUR_SPACE, SHORT, 1, number(1)))
    segments += make_segment(0xED, PHOTOSHOP_SEGMENT + resource(1028, b"")) + make_segment(0xE2, profile)
    made = file.getvalue()[:20] + segments + file.getvalue()[20:]  # behind JFIF's
    coded = base64.b64encode(made).decode()
    page.evaluate(
        "window.encoder = HTMLCanvasElement.prototype.toBlob;"
        f"const made = Uint8Array.from(atob('{coded}'), (each) => each.charCodeAt(0));"
        "HTMLCanvasElement.prototype.toBlob = (take) => take(new Blob([made])); null"
    )
    result = copied(page, exif(ABC) + make_segment(0xED, PHOTOSHOP_SEGMENT + resource(1028, CAPTION)))
    page.evaluate("HTMLCanvasElement.prototype.toBlob = encoder; null")
    assert [len(payloads(result, marker)) for marker in (0xE0, 0xE1, 0xED)] == [1, 1, 1]
    assert payloads(result, 0xE2) == [profile]
    assert result.getexif()[MAKER] == "Abc"
    assert captions(result) == b"bridg"
    assert result.fp is not None
    result.fp.seek(0)
    assert Image.open(result.fp, formats=["JPEG"]).convert("RGB").getpixel((0, 0)) == (0, 0, 0)
