"""What the tests of the web page's results share: the files that a click saves, and parts of JPEGs."""

from __future__ import annotations

import base64

from tests.export.web.chromium import Page

ORIENTATION, MAKER, EXIF_IFD = 0x112, 0x10F, 0x8769
CAPTION = b"\x1c\x02\x78\x00\x05bridg"

SAVED = (
    "(async () => { const make = URL.createObjectURL; const blobs = [];"
    " URL.createObjectURL = (each) => (blobs.push(each), make.call(URL, each));"
    " await document.getElementById(ID).onclick(); URL.createObjectURL = make;"
    " const all = []; for (const blob of blobs) { const reader = new FileReader();"
    " all.push(await new Promise((done) => {"
    " reader.onload = () => done(reader.result); reader.readAsDataURL(blob); })); } return all; })()"
)


def saved(page: Page, button: str = "save") -> list[bytes]:
    """The files that a click on a button gives."""
    found = page.evaluate(SAVED.replace("ID", f"'{button}'"))
    return [base64.b64decode(each.partition(",")[2]) for each in found]


def resource(number: int, content: bytes) -> bytes:
    """A resource of Photoshop without a name."""
    data = content + b"\0" * (len(content) % 2)
    return b"8BIM" + number.to_bytes(2, "big") + b"\0\0" + len(content).to_bytes(4, "big") + data
