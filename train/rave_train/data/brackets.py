"""Exposure brackets among a photographer's own pictures: which shots belong together, by their EXIF."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from PIL import ExifTags

from rave_train.data.photographs import Photograph, open_photograph
from rave_train.errors import DataError

MIN_SPAN_STOPS: Final = 2.0
"""Least difference between the darkest and the brightest shot of a bracket."""

_MAX_PAUSE_S: Final = 3.0
"""Longest time from the end of one shot of a bracket to the beginning of the next."""

_LONGEST_EXPOSURE: Final = timedelta(days=1)
"""An exposure that is said to have lasted longer is nonsense, and every later shot would lie within it."""

_MOST_LINES: Final = 3
"""Most photographs that are left out in a line each; a whole archive has thousands of single shots."""

_SAME_STOPS: Final = 0.15
"""Exposures that differ by less count as one: a bracket has each of its exposures once."""


@dataclass(frozen=True)
class Shot:
    """A photograph with its exposure.

    Attributes:
        photograph: the file.
        camera: maker, model, focal length and size in pixels; equal for all shots of a bracket.
        taken_at: when the exposure began.
        seconds: how long it lasted.
        stops: log2 of the exposure, which is 0 for ISO 100, one second and f/1.
    """

    photograph: Photograph
    camera: tuple[str, ...]
    taken_at: datetime
    seconds: float
    stops: float

    @property
    def ended(self) -> datetime:
        """When the exposure ended."""
        return self.taken_at + timedelta(seconds=self.seconds)


@dataclass(frozen=True)
class BracketSearch:
    """What was found among some photographs.

    Attributes:
        brackets: shots of each scene, from the darkest to the brightest exposure.
        left_out: lines about photographs and groups that make no bracket, with the reason; where many have
            the same reason, one line for them.
    """

    brackets: tuple[tuple[Shot, ...], ...]
    left_out: tuple[str, ...]


def find_brackets(photographs: Sequence[Photograph]) -> BracketSearch:
    """Groups photographs that one camera took right after one another, each with a different exposure."""
    shots: list[Shot] = []
    alone: dict[str, list[str]] = {}
    left_out: list[str] = []
    for photograph in photographs:
        shot = read_shot(photograph)
        if isinstance(shot, Shot):
            shots.append(shot)
        else:
            alone.setdefault(shot, []).append(photograph.file.name)
    shots.sort(key=lambda shot: (shot.camera, shot.taken_at, shot.photograph.file.name))
    groups: list[list[Shot]] = []
    for shot in shots:
        if groups and _continues(groups[-1], shot):
            groups[-1].append(shot)
        else:
            groups.append([shot])
    brackets = []
    for group in groups:
        ordered = sorted(group, key=lambda shot: shot.stops)
        span = ordered[-1].stops - ordered[0].stops
        if span >= MIN_SPAN_STOPS:
            brackets.append(tuple(ordered))
            continue
        first = group[0].photograph.file.name
        if len(group) == 1:
            alone.setdefault("a single shot", []).append(first)
            continue
        left_out.append(
            f"{first} and {len(group) - 1} more: {span:.1f} stops apart, {MIN_SPAN_STOPS:g} are needed"
        )
    return BracketSearch(tuple(brackets), (*_describe_alone(alone), *left_out))


def _describe_alone(alone: dict[str, list[str]]) -> Iterator[str]:
    """Yields lines about photographs that belong to no group, whose names stand under the reason."""
    for reason, names in alone.items():
        if len(names) > _MOST_LINES:
            yield f"{names[0]}, {names[1]} and {len(names) - 2} more, each: {reason}"
        else:
            yield from (f"{name}: {reason}" for name in names)


def read_shot(photograph: Photograph) -> Shot | str:
    """Reads a photograph's exposure from its EXIF; a text instead says what is missing there."""
    try:
        with open_photograph(photograph.file) as image:
            size = f"{image.width}x{image.height}"
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
    except (DataError, KeyError, OSError, SyntaxError, ValueError) as error:
        return f"its EXIF cannot be read ({error})"
    seconds = _number(details.get(ExifTags.Base.ExposureTime))
    aperture = _number(details.get(ExifTags.Base.FNumber)) or 1.0  # a lens without contacts has one aperture
    iso = _number(details.get(ExifTags.Base.ISOSpeedRatings)) or 100.0
    taken_at = _moment(
        details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime),
        details.get(ExifTags.Base.SubsecTimeOriginal),
    )
    if seconds is None or taken_at is None:
        missing = "exposure time" if seconds is None else "time of capture"
        return f"its EXIF has no {missing}"
    camera = (
        str(exif.get(ExifTags.Base.Make, "")), str(exif.get(ExifTags.Base.Model, "")),
        str(details.get(ExifTags.Base.FocalLength, "")), size,
    )  # fmt: skip
    try:
        stops = math.log2(seconds * iso / 100 / aperture**2)
        shot = Shot(photograph, camera, taken_at, seconds, stops)
        if shot.ended - taken_at <= _LONGEST_EXPOSURE:
            return shot
    except (ArithmeticError, ValueError):  # numbers that no camera writes, or the end of the year 9999
        pass
    return "its EXIF has an impossible exposure or time of capture"


def _continues(group: Sequence[Shot], shot: Shot) -> bool:
    """Whether a shot belongs to the same bracket as the group of shots just before it."""
    last = group[-1]
    pause = shot.taken_at - last.ended
    if shot.camera != last.camera or pause > timedelta(seconds=_MAX_PAUSE_S):
        return False
    return all(abs(shot.stops - other.stops) > _SAME_STOPS for other in group)


def _number(value: Any) -> float | None:
    """A positive number of EXIF, which may be a fraction, a list, or nonsense."""
    if isinstance(value, tuple | list):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _moment(text: Any, fraction: Any) -> datetime | None:
    """The time that EXIF states in two values, one for the whole seconds and one for their fraction."""
    try:
        moment = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    digits = str(fraction).strip("\0 ") if fraction is not None else ""
    return moment + timedelta(seconds=float(f"0.{digits}")) if digits.isdecimal() else moment
