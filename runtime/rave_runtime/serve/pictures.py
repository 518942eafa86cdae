"""The work of a worker thread: checks a photograph, and enhances it or estimates its light."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.backends.stopping import StoppedError
from rave_runtime.bundle import MIN_WORKING_SIZE_PX
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import UsageError
from rave_runtime.light.reduction import Reduction
from rave_runtime.photos.colour import as_seen
from rave_runtime.photos.formats import WRITTEN_FORMATS, format_of_content, parse_format
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.memory import MemoryBudget, Need, estimate_need
from rave_runtime.run.one_photo import EnhancedPhoto, enhance_content, vary
from rave_runtime.serve.problems import RefusedError
from rave_runtime.serve.work import IsStopped

ENHANCE_PARAMETERS: Final = (
    "strength",
    "highlights",
    "format",
    "quality",
    "working_size",
    "again",
    "hdr",
)
LIGHT_PARAMETERS: Final = ("format", "long_side", "working_size")

_LEAST_SIDE_PX: Final = 16
"""Shortest long side that may be asked for of a light map."""


@dataclass(frozen=True)
class Wishes:
    """The parameters of a request; None stands for the service's setting, or keeps the photograph's.

    Attributes:
        strength: exponent of the light map, 0 to 2.
        highlights: its exponent in bright parts, 0 to 2.
        format: the format to write, as `parse_format` returns it; for a light map, "png" or "npy".
        quality: the quality of lossy formats, 1 to 100.
        working_size: long side, in pixels, on which the light is estimated; "full" is full resolution, "same"
            the service's setting.
        long_side: the long side of a light map, in pixels.
        again: whether a photograph that was enhanced before is enhanced once more.
        hdr: whether a JPEG gets an HDR gain map where the photograph has none.
    """

    strength: float | None = None
    highlights: float | None = None
    format: str | None = None
    quality: int | None = None
    working_size: int | Literal["same", "full"] = "same"
    long_side: int | None = None
    again: bool = False
    hdr: bool = False


@dataclass(frozen=True)
class LightMap:
    """An illumination map as the bytes of a file, with the upright size of its photograph."""

    content: bytes
    media_type: str
    warnings: tuple[str, ...]
    width_px: int
    height_px: int


def parse_wishes(pairs: Iterable[tuple[str, str]], parameters: tuple[str, ...]) -> Wishes:
    """Parses the parameters of a request's query and form.

    Args:
        pairs: names and values as they came.
        parameters: names that this request may have.

    Raises:
        UsageError: a name is unknown or comes twice, or its value is out of range or of another kind.
    """
    texts: dict[str, str] = {}
    for name, value in pairs:
        if name not in parameters:
            raise UsageError(
                f"{name[:40]!r} is not a parameter of this request: it takes {', '.join(parameters)}"
            )
        if name in texts:
            raise UsageError(f"{name} is there twice: give it once")
        texts[name] = value
    strength = None if "strength" not in texts else _number("strength", texts["strength"], 0, 2)
    highlights = None if "highlights" not in texts else _number("highlights", texts["highlights"], 0, 2)
    quality = None
    if "quality" in texts:
        quality = int(_number("quality", texts["quality"], 1, 100, whole=True))
    working: int | Literal["same", "full"] = "same"
    if "working_size" in texts:
        text = texts["working_size"]
        least, most, other = MIN_WORKING_SIZE_PX, 1 << 16, ", or full for the full size,"
        working = "full"
        if text != "full":
            working = int(_number("working_size", text, least, most, other, whole=True))
    long_side = None
    if "long_side" in texts:
        long_side = int(_number("long_side", texts["long_side"], _LEAST_SIDE_PX, 1 << 16, whole=True))
    again, hdr = (_truth(name, texts.get(name, "false")) for name in ("again", "hdr"))
    format_name = None
    if "format" in texts:
        parse = _parse_map_format if parameters is LIGHT_PARAMETERS else _parse_format
        format_name = parse(texts["format"])
    return Wishes(strength, highlights, format_name, quality, working, long_side, again, hdr)


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise UsageError(f"{name} is {text[:20]!r}, true or false is needed")
    return text.lower() == "true"


def _number(
    name: str, text: str, minimum: int, maximum: int, other: str = "", *, whole: bool = False
) -> float:
    """Parses a number within limits, which may have to be whole; another text is a `UsageError`.

    Its message says with `other` what else the parameter may be.
    """
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = float("nan")
    if not minimum <= value <= maximum or len(text) > 20:
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{name} is {text[:20]!r}, {kind} from {minimum} to {maximum}{other} is needed")
    return value


class Studio:
    """Enhances photographs within the limits of a service. Several threads may share one.

    Args:
        enhancer: enhances the photographs.
        max_megapixels: larger photographs are refused.
        memory_limit_mib: the memory that all photographs in work may take together, in MiB.
    """

    def __init__(self, enhancer: Enhancer, max_megapixels: float, memory_limit_mib: int) -> None:
        self.enhancer: Final = enhancer
        self._max_megapixels: Final = max_megapixels
        self._limit_mib: Final = memory_limit_mib
        self._budget = MemoryBudget(memory_limit_mib << 20)

    def warm_up(self) -> None:
        """Loads everything that the first photograph needs."""
        self.enhancer.prepare()
        self.enhancer.enhance(np.zeros((32, 32, 3), np.uint8))

    def enhance(self, content: bytes, wishes: Wishes, is_stopped: IsStopped) -> EnhancedPhoto:
        """Enhances a photograph from the bytes of a file to the bytes of a file.

        Args:
            content: the bytes of the photograph's file.
            wishes: the parameters of the request.
            is_stopped: whether to stop, since nobody waits for the result.

        Raises:
            RefusedError: it is not a photograph, or too large.
            StoppedError: it was told to stop.
            RaveError: as `enhance_content`.
        """
        enhancer = vary(
            self.enhancer,
            strength=wishes.strength,
            highlights=wishes.highlights,
            working_size=wishes.working_size,
            is_stopped=is_stopped,
        )
        with self._budget.reserve(self._check(content, enhancer.working_size_px)):
            if is_stopped():
                raise StoppedError
            photo = enhance_content(
                enhancer,
                content,
                format=wishes.format,
                quality=wishes.quality,
                max_megapixels=self._max_megapixels,
                is_stopped=is_stopped,
                again=wishes.again,
                hdr=wishes.hdr,
            )
        return replace(photo, warnings=tuple(map(_as_parameters, photo.warnings)))

    def light(self, content: bytes, wishes: Wishes, is_stopped: IsStopped) -> LightMap:
        """Estimates the upright illumination map of a photograph: a 16-bit PNG (65535 is 1) or a float32 NPY.

        Arguments are as for `enhance`.

        Raises:
            RefusedError: it is not a photograph, or too large.
            StoppedError: it was told to stop.
            RaveError: as `Enhancer.illumination`.
        """
        kind = wishes.format or "png"
        enhancer = vary(
            self.enhancer, strength=1, highlights=1, working_size=wishes.working_size, is_stopped=is_stopped
        )
        with self._budget.reserve(self._check(content, enhancer.working_size_px)):
            if is_stopped():
                raise StoppedError
            photo = read_photo(content, self._max_megapixels)
            height, width = photo.pixels.shape[:2]
            seen = as_seen(photo.pixels, photo.icc_profile)
            if wishes.long_side is not None and wishes.long_side < max(height, width):
                small = Reduction(seen, wishes.long_side).pixels
                seen = small if small.dtype == np.uint8 else (small * 65535 + 0.5).astype(np.uint16)
            light = enhancer.illumination(np.ascontiguousarray(seen))
        return LightMap(
            _npy(light) if kind == "npy" else _grey_png(light),
            "application/octet-stream" if kind == "npy" else "image/png",
            photo.warnings,
            width,
            height,
        )

    def _check(self, content: bytes, working_size_px: int | None) -> Need:
        """Checks a photograph's size from its header, and returns the memory that it needs.

        Raises:
            RefusedError: it is not a photograph, or too large.
        """
        if not content:
            raise RefusedError(400, "the photograph is empty (0 bytes): send the bytes of its file")
        if content.startswith(b"PK\3\4"):
            raise RefusedError(415, "this is a zip and no photograph: send it to /batch, alone")
        if format_of_content(content) is None:
            raise RefusedError(
                415,
                "the photograph is not a picture, or of a format that is not known here: send the bytes of "
                "its file, and parameters in the query",
            )
        size = read_dimensions(content)  # None: the reader will say what is wrong with it
        if size is not None and size.width * size.height > self._max_megapixels * 1e6:
            raise RefusedError(
                413,
                f"the photograph is {size.width} x {size.height}, over this service's limit of "
                f"{self._max_megapixels:g} megapixels: send it smaller",
            )
        need = estimate_need(content, working_size_px)
        needed_bytes = need.photo_bytes + need.network_bytes
        if needed_bytes > self._limit_mib << 20:
            raise RefusedError(
                413,
                f"the photograph needs about {needed_bytes >> 20} MiB of memory, this service has "
                f"{self._limit_mib} MiB for photographs: send it smaller",
            )
        return need


def _as_parameters(note: str) -> str:
    """Rewrites a note so that it names parameters of a request in place of rave-run's options."""
    note = re.sub(r"--(again|hdr)\b", r"\1=true", note)
    return re.sub(r"--(format|quality) (\w+)", r"\1=\2", note)


def _parse_format(text: str) -> str:
    try:
        return parse_format(text)
    except UsageError:
        names = ", ".join(WRITTEN_FORMATS).lower()
        raise UsageError(f"format is {text[:20]!r}, one of {names} is needed") from None


def _parse_map_format(text: str) -> str:
    kind = text.lower()
    if kind not in ("png", "npy"):
        raise UsageError(f"format is {kind[:20]!r}: a light map is written as png or npy")
    return kind


def _grey_png(light: NDArray[np.float32]) -> bytes:
    """Writes a light map as a 16-bit grey PNG, in which 65535 is a light of 1; greater light is clipped."""
    levels = (np.clip(light, 0, 1) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _npy(light: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, light.astype("<f4", copy=False), allow_pickle=False)
    return file.getvalue()
