"""Correcting XMP packets for a picture that was turned upright and has no further pictures behind it."""

from __future__ import annotations

import re
from typing import Final

from rave_runtime.photos.metadata.geometry import stored_size
from rave_runtime.photos.metadata.packet import Element, Packet, Span, read_packet
from rave_runtime.photos.metadata.regions import Edits, turn_regions

_ORIENTATION: Final = "tiff:Orientation"
_WIDTHS: Final = ("tiff:ImageWidth", "exif:PixelXDimension")
_HEIGHTS: Final = ("tiff:ImageLength", "exif:PixelYDimension")
_RESOLUTIONS: Final = (
    ("tiff:XResolution", "tiff:YResolution"),
    ("exif:FocalPlaneXResolution", "exif:FocalPlaneYResolution"),
)
_FILMS: Final = ("GCamera:MotionPhoto", "GCamera:MicroVideo")
_FILM_PLACES: Final = ("GCamera:MicroVideoOffset",)
_GAIN_MAP: Final = "hdrgm:Version"
_SEMANTIC: Final = "Item:Semantic"
_EXTENSION: Final = "xmpNote:HasExtendedXMP"
_IN_EXTENSION: Final = ("GDepth:", "GImage:", "GAudio:")
_RATIO: Final = re.compile(r"[0-9./]{1,40}")

_MANIFEST: Final = "self#jumbf"
_CAMERA_RAW: Final = ("http://ns.adobe.com/camera-raw-settings/1.0/", "crs")


def orientation_in_xmp(xmp: bytes) -> int | None:
    """Returns the orientation that a packet states, 1 to 8, or None."""
    packet = read_packet(xmp)
    for element in packet.top.walk():
        span = packet.fields(element).get(_ORIENTATION)
        if span is not None and packet.text(span) in tuple("12345678"):
            return int(packet.text(span))
    return None


def upright_xmp(xmp: bytes, width: int, height: int, orientation: int = 1) -> bytes | None:
    """Corrects XMP for a picture whose orientation has been applied and that has none behind it.

    The orientation becomes 1, recorded sizes those of the upright picture, and places in the picture turn
    with it. The thumbnail of the old picture is removed, and so is all that speaks of further pictures or a
    film behind the photograph, and of credentials for the unchanged one. For a turned picture the reference
    to a second packet is removed too: what that holds, such as a depth map, has not been turned.

    Args:
        xmp: a packet.
        width: the width of the upright picture, in pixels.
        height: the height of the upright picture, in pixels.
        orientation: how the picture was stored, 1 to 8.

    Returns:
        The packet, or None where it is too damaged to be turned.
    """
    packet = read_packet(xmp)
    if not packet.is_whole and orientation != 1:
        return None
    edits: Edits = {}
    turn = stored_size(orientation, width, height)
    for element in packet.top.walk():
        fields = packet.fields(element)
        for names, value in ((_WIDTHS, width), (_HEIGHTS, height), ((_ORIENTATION,), 1)):
            spans = [span for name in names for span in packet.places(element, name)]
            numbers = [span for span in spans if packet.text(span).isdecimal()]
            edits |= {packet.trimmed(span): b"%d" % value for span in numbers}
        for across, down in _RESOLUTIONS if turn.swaps_sides else ():
            pair = [packet.trimmed(fields[name]) for name in (across, down) if name in fields]
            if len(pair) == 2 and all(_RATIO.fullmatch(packet.text(span)) for span in pair):
                edits |= {pair[0]: packet.text(pair[1]).encode(), pair[1]: packet.text(pair[0]).encode()}
        for name in _FILMS:
            films = [span for span in packet.places(element, name) if packet.text(span) == "1"]
            edits |= {packet.trimmed(span): b"0" for span in films}
        edits |= {fields[name]: b"0" for name in _FILM_PLACES if name in fields}
        edits |= without_names(element, (_GAIN_MAP,))
        if packet.text(fields.get("dcterms:provenance", Span(0, 0))).startswith(_MANIFEST):
            edits |= without_names(element, ("dcterms:provenance",))
        if element.name == "rdf:li" and _further_picture(packet, element) is not None:
            edits[element.whole] = b""
        if element.name in ("xmp:Thumbnails", "Device:Profiles"):
            edits[element.whole] = b""
        if orientation != 1:
            edits |= _without_extension(element)
    if orientation != 1:
        edits |= turn_regions(packet, packet.top, turn)
    edits = {span: data for span, data in edits.items() if 0 <= span.start <= span.stop}
    return packet.with_edits(edits) if edits else xmp


def further_pictures(xmp: bytes | None) -> tuple[str, ...]:
    """Lists what a packet says to stand behind the photograph, such as `MotionPhoto` or `GainMap`."""
    if xmp is None:
        return ()
    packet = read_packet(xmp)
    semantics = []
    for element in packet.top.walk():
        fields = packet.fields(element)
        if any(name in fields and packet.text(fields[name]) == "1" for name in _FILMS):
            semantics.append("MotionPhoto")
        if _GAIN_MAP in fields:
            semantics.append("GainMap")
        if element.name == "rdf:li" and (semantic := _further_picture(packet, element)) is not None:
            semantics.append(semantic)
    return tuple(dict.fromkeys(semantics))


def without_extension(xmp: bytes) -> bytes:
    """Takes the reference to a second packet out of one, for files that have no place for that."""
    packet = read_packet(xmp)
    edits: Edits = {}
    for element in packet.top.walk():
        edits |= _without_extension(element)
    return packet.with_edits(edits) if edits else xmp


def _without_extension(element: Element) -> Edits:
    """Returns the changes that take out a second packet's reference and the description of its pictures."""
    names = (*element.attributes, *(child.name for child in element.children))
    if _EXTENSION not in names:
        return {}
    return without_names(element, (_EXTENSION, *(name for name in names if name.startswith(_IN_EXTENSION))))


def without_development(xmp: bytes) -> bytes:
    """Takes out how Camera Raw and Lightroom develop a raw file: they would do so again with the result."""
    packet = read_packet(xmp, (_CAMERA_RAW,))
    edits: Edits = {}
    for element in packet.top.walk() if packet.is_whole else ():
        names = (*element.attributes, *(child.name for child in element.children))
        edits |= without_names(element, tuple(name for name in names if name.startswith("crs:")))
    return packet.with_edits(edits) if edits else xmp


def without_names(element: Element, names: tuple[str, ...]) -> Edits:
    """Returns the changes that take those values out, whether they are attributes or elements."""
    edits = {element.declared[name]: b"" for name in names if name in element.declared}
    return edits | {child.whole: b"" for child in element.children if child.name in names}


def _further_picture(packet: Packet, item: Element) -> str | None:
    """Returns what an entry of a list of pictures stands for; None where it is the photograph itself."""
    to_visit = [item]
    while to_visit:
        element = to_visit.pop()
        span = packet.fields(element).get(_SEMANTIC)
        if span is not None:
            semantic = packet.text(span)
            return None if semantic == "Primary" else semantic
        to_visit += [child for child in element.children if child.name != "rdf:li"]
    return None
