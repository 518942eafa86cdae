"""Places that XMP names in a picture - faces, subjects, areas of a panorama - turned with its pixels.

Sources: MWG Guidelines 2.0, 5.9 (regions); Microsoft photo schema 1.2, people tagging; IPTC Photo Metadata
2023.2, image regions; Photo Sphere XMP metadata (GPano); Exif 3.0 in XMP (subject area and location).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rave_runtime.photos.metadata.geometry import Box, Turn
from rave_runtime.photos.metadata.packet import Element, Packet, Span

Edits = dict[Span, bytes]


def turn_regions(packet: Packet, top: Element, turn: Turn) -> Edits:
    """Returns the changes that turn every place below an element of a packet.

    Args:
        packet: what the element belongs to.
        top: the element.
        turn: how the stored picture is turned, in pixels.
    """
    structures = {
        "mwg-rs:Regions": _turn_faces,
        "exif:SubjectArea": _turn_subject,
        "exif:SubjectLocation": _turn_subject,
        "Iptc4xmpExt:RegionBoundary": _turn_boundary,
    }
    edits: Edits = {}
    to_visit = [(top, False)]
    while to_visit:
        element, is_inside = to_visit.pop()
        turn_structure = structures.get(element.name)
        to_visit += [(child, is_inside or turn_structure is not None) for child in element.children]
        if turn_structure is not None and not is_inside:
            edits |= turn_structure(packet, element, turn)
        fields = packet.fields(element)
        if "MPReg:Rectangle" in fields:
            edits |= _turn_rectangle(packet, fields["MPReg:Rectangle"], turn)
        if any(name.startswith("GPano:") for name in fields):
            edits |= _turn_panorama(packet, fields, turn)
    return edits


def _turn_faces(packet: Packet, regions: Element, turn: Turn) -> Edits:
    """Turns regions by centre and sides, in shares of the picture or in pixels of the size that is stated."""
    edits: Edits = {}
    frame = turn
    for element in regions.walk():
        fields = packet.fields(element)
        size = _numbers(packet, fields, "stDim:w", "stDim:h")
        if size is None or min(size) <= 0:
            continue
        frame = turn.sized(*size)
        if turn.swaps_sides and _is_upright(size, turn):
            return {}
        edits |= _write(fields, dict(zip(("stDim:w", "stDim:h"), turn.sides(*size), strict=True)))
    for element in regions.walk():
        fields = packet.fields(element)
        centre = _numbers(packet, fields, "stArea:x", "stArea:y")
        if centre is None:
            continue
        unit = packet.text(fields["stArea:unit"]) if "stArea:unit" in fields else "normalized"
        within = frame if unit == "pixel" else turn.sized(1, 1)
        edits |= _write(fields, dict(zip(("stArea:x", "stArea:y"), within.point(*centre), strict=True)))
        sides = _numbers(packet, fields, "stArea:w", "stArea:h")
        if sides is not None:
            edits |= _write(fields, dict(zip(("stArea:w", "stArea:h"), turn.sides(*sides), strict=True)))
    return edits


def _is_upright(size: tuple[float, ...], turn: Turn) -> bool:
    """Tells whether a size has the shape of the upright picture rather than that of the stored one."""
    shape, stored = size[0] / size[1], turn.width / turn.height
    return abs(math.log(shape * stored)) < abs(math.log(shape / stored))


def _turn_subject(packet: Packet, subject: Element, turn: Turn) -> Edits:
    items = [item for item in subject.walk() if item.name == "rdf:li" and not item.children]
    numbers = [_number(packet.text(item.inner)) for item in items]
    values = turn_subject([number for number in numbers if number is not None], turn)
    if len(values) != len(items):
        return {}
    return {packet.trimmed(item.inner): _digits(value) for item, value in zip(items, values, strict=True)}


def turn_subject(values: list[float], turn: Turn) -> list[float]:
    """Turns a subject as EXIF states it; what lies outside of the picture comes back unchanged.

    Args:
        values: x and y in pixels, then a diameter, or a width and a height.
        turn: how the stored picture is turned, in pixels.
    """
    if len(values) < 2 or not (0 <= values[0] <= turn.width and 0 <= values[1] <= turn.height):
        return values
    x, y = turn.point(values[0], values[1])
    width, height = turn.sides(turn.width, turn.height)
    sides = list(turn.sides(values[2], values[3])) if len(values) == 4 else values[2:]
    return [min(x, width - 1), min(y, height - 1), *sides]


def _turn_rectangle(packet: Packet, span: Span, turn: Turn) -> Edits:
    """Turns left, top, width and height in shares of the picture."""
    numbers = [_number(text) for text in packet.text(span).split(",")]
    if len(numbers) != 4 or None in numbers:
        return {}
    box = turn.sized(1, 1).box(Box(*(number for number in numbers if number is not None)))
    return {span: b", ".join(_digits(number) for number in box)}


def _turn_boundary(packet: Packet, boundary: Element, turn: Turn) -> Edits:
    """Turns a rectangle by its corner and sides, a circle by its centre, or a polygon by its corners."""
    edits: Edits = {}
    outer = next((packet.fields(each) for each in boundary.walk() if _unit(packet.fields(each))), {})
    is_relative = "Iptc4xmpExt:rbUnit" not in outer or packet.text(outer["Iptc4xmpExt:rbUnit"]) == "relative"
    frame = turn.sized(1, 1) if is_relative else turn
    for element in boundary.walk():
        fields = packet.fields(element)
        corner = _numbers(packet, fields, "Iptc4xmpExt:rbX", "Iptc4xmpExt:rbY")
        if corner is None:
            continue
        sides = _numbers(packet, fields, "Iptc4xmpExt:rbW", "Iptc4xmpExt:rbH")
        if sides is not None:
            box = frame.box(Box(*corner, *sides))
            edits |= _write(
                fields, {f"Iptc4xmpExt:rb{name}": each for name, each in zip("XYWH", box, strict=True)}
            )
            continue
        x, y = frame.point(*corner)
        edits |= _write(fields, {"Iptc4xmpExt:rbX": x, "Iptc4xmpExt:rbY": y})
        radius = _numbers(packet, fields, "Iptc4xmpExt:rbRx")
        if radius is not None and is_relative and turn.swaps_sides:  # the radius is a share of the width
            edits |= _write(fields, {"Iptc4xmpExt:rbRx": radius[0] * turn.width / turn.height})
    return edits


def _unit(fields: Mapping[str, Span]) -> bool:
    return "Iptc4xmpExt:rbUnit" in fields


def _turn_panorama(packet: Packet, fields: Mapping[str, Span], turn: Turn) -> Edits:
    """Turns the picture's area in the whole sphere, and the largest area without gaps in the picture."""
    edits: Edits = {}
    full = _numbers(packet, fields, "GPano:FullPanoWidthPixels", "GPano:FullPanoHeightPixels")
    area = tuple(f"GPano:CroppedArea{name}Pixels" for name in ("Left", "Top", "ImageWidth", "ImageHeight"))
    inside = tuple(f"GPano:LargestValidInteriorRect{name}" for name in ("Left", "Top", "Width", "Height"))
    for names, frame in ((area, full), (inside, (turn.width, turn.height))):
        values = _numbers(packet, fields, *names)
        if values is not None and frame is not None:
            edits |= _write(fields, dict(zip(names, turn.sized(*frame).box(Box(*values)), strict=True)))
    if full is not None:
        sides = turn.sides(*full)
        edits |= _write(
            fields, {"GPano:FullPanoWidthPixels": sides[0], "GPano:FullPanoHeightPixels": sides[1]}
        )
    return edits


def _numbers(packet: Packet, fields: Mapping[str, Span], *names: str) -> tuple[float, ...] | None:
    """Returns the values of those fields; None where one is missing or is not a number."""
    numbers = [_number(packet.text(fields[name])) for name in names if name in fields]
    known = tuple(number for number in numbers if number is not None)
    return known if len(known) == len(names) else None


def _number(text: str) -> float | None:
    try:
        number = float(text) if len(text) < 40 else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _write(fields: Mapping[str, Span], values: Mapping[str, float]) -> Edits:
    return {fields[name]: _digits(value) for name, value in values.items()}


def _digits(number: float) -> bytes:
    digits = f"{number:.6f}".rstrip("0").rstrip(".")
    return b"0" if digits == "-0" else digits.encode()
