"""XMP packets, corrected for a picture that was turned upright and stands alone."""

from __future__ import annotations

import re
from typing import Final

_FILM: Final = re.compile(rb'(Camera:(?:MotionPhoto|MicroVideo)(?:\s*=\s*["\']|>\s*))(1)(\s*["\'<])')
"""A phone's word that a film stands behind the photograph."""


_GAIN_MAP: Final = re.compile(
    rb'\s+hdrgm:Version\s*=\s*["\'][^"\']*["\']|<hdrgm:Version>[^<]*</hdrgm:Version>'
)


_FURTHER_PICTURE: Final = re.compile(
    rb"<rdf:li\b[^>]*>\s*<Container:Item\b"
    rb'[^>]*Item:Semantic\s*=\s*["\'](?:GainMap|MotionPhoto)["\'][^>]*/>\s*</rdf:li>'
)
"""An entry in a phone's list of what stands behind the photograph."""


_WIDTHS: Final = rb"((?:tiff:ImageWidth|exif:PixelXDimension))"


_HEIGHTS: Final = rb"((?:tiff:ImageLength|exif:PixelYDimension))"


def upright_xmp(xmp: bytes, width: int, height: int) -> bytes:
    """XMP for a picture whose orientation has been applied and that stands alone.

    The orientation becomes 1, recorded sizes those of the upright picture; the thumbnail of the old picture
    and all promises of a film or a gain map behind the photograph are taken back.

    Args:
        xmp: a packet.
        width: of the upright picture, in pixels.
        height: likewise.
    """
    for names, side in ((_WIDTHS, width), (_HEIGHTS, height)):
        xmp = re.sub(names + rb'(\s*=\s*["\']|>\s*)\d+(\s*["\'<])', rb"\g<1>\g<2>%d\g<3>" % side, xmp)
    xmp = _FURTHER_PICTURE.sub(b"", xmp)
    xmp = _GAIN_MAP.sub(b"", xmp)
    xmp = _FILM.sub(rb"\g<1>0\g<3>", xmp)
    xmp = re.sub(rb'(tiff:Orientation\s*=\s*["\'])\d(["\'])', rb"\g<1>1\g<2>", xmp)
    xmp = re.sub(rb"(<tiff:Orientation>)\s*\d\s*(</tiff:Orientation>)", rb"\g<1>1\g<2>", xmp)
    for name in (b"xmp:Thumbnails>", b"xap:Thumbnails>"):
        start, stop = xmp.find(b"<" + name), xmp.find(b"</" + name)
        if 0 <= start < stop:
            xmp = xmp[:start] + xmp[stop + len(name) + 2 :]
    return xmp


def promises_film(xmp: bytes | None) -> bool:
    """Whether XMP says that a film stands behind the photograph."""
    return _FILM.search(xmp or b"") is not None
