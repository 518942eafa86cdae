"""Enhancing one photograph from a file's bytes to a file's bytes, as all programs do it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from PIL import Image

from rave_runtime.backends.limits import startable_threads, usable_processors
from rave_runtime.backends.stopping import StoppableNetwork, StoppedError
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.light import compiled
from rave_runtime.light.look import Look
from rave_runtime.light.sizes import check_working_size
from rave_runtime.photos.codecs.hdr_care import HdrCare
from rave_runtime.photos.encode import Encoded, encode_photo
from rave_runtime.photos.formats import format_named, output_format, parse_format
from rave_runtime.photos.metadata.left_behind import GAIN_MAP_NOTE
from rave_runtime.photos.metadata.mark import Mark, read_mark
from rave_runtime.photos.photo import DEFAULT_MAX_MEGAPIXELS, Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.version import __version__

if TYPE_CHECKING:
    from rave_runtime.enhancer import Enhancer

Stage = Literal["read", "enhance", "write"]

_THREADS: Final = 8
"""Threads that a library for HEIC or AVIF may start, beside two for each processor."""

_HEIC_THREADS: Final = 3
"""Threads without which x265 waits for ever: it needs one here, and other photographs take some meanwhile."""


@dataclass(frozen=True)
class EnhancedPhoto:
    """An enhanced photograph as the bytes of a file.

    Attributes:
        content: the file's bytes.
        format: the name of its format, such as "JPEG".
        media_type: the format as HTTP and mail name it, such as "image/jpeg".
        source_format: the format that the photograph came in.
        warnings: what a user should know of it, a sentence each.
        backlit: how much light its darkest third lacked, from 0 to 1: see `Enhancer.backlit_score`. None
            where it was not estimated, such as at strength 0.
        is_unchanged: whether it was left as it is, since its score was too small, it had been enhanced
            before, or its light asks for so little that `content` is the file that it came in.
        enhanced_before: whether it was marked as enhanced, see `rave_runtime.photos.metadata.mark`.
        width_px: upright width.
        height_px: upright height.
        orientation: how the pixels were turned, as EXIF numbers it; 1 where `content` is the file as it came.
        seconds: the time that all of it took.
        stage_seconds: the time that reading, enhancing and writing took.
    """

    content: bytes = field(repr=False)
    format: str
    media_type: str
    source_format: str
    warnings: tuple[str, ...]
    width_px: int
    height_px: int
    seconds: float
    orientation: int = 1
    backlit: float | None = None
    is_unchanged: bool = False
    enhanced_before: bool = False
    stage_seconds: Mapping[Stage, float] = field(default_factory=dict)


def enhance_content(
    enhancer: Enhancer,
    content: bytes,
    *,
    format: str | None = None,
    quality: int | None = None,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    is_stopped: Callable[[], bool] | None = None,
    least_score: float = 0.0,
    may_copy: bool = True,
    keeps_name: bool = False,
    again: bool = False,
    hdr: bool = False,
) -> EnhancedPhoto:
    """Enhances one photograph; metadata, profile, depth and encoding stay as they came.

    The result's XMP marks it as enhanced. A photograph with such a mark is left as it is.

    Args:
        enhancer: the enhancer to use.
        content: the bytes of a file.
        format: the name of a written format; None keeps the photograph's own, or PNG if it is not written.
        quality: the quality of lossy formats, 1 to 100; None keeps the photograph's own.
        max_megapixels: larger photographs are refused before they are decoded.
        is_stopped: called between the stages and before each call of the network, in this thread; True ends
            the work.
        least_score: a photograph that is less backlit than this is not enhanced.
        may_copy: whether the file of such a photograph is the result as it is, if its format is the one to
            write; otherwise its pixels are encoded again. That also holds for a photograph whose light asks
            for no change, and at strength 0 for every one, unless a quality or a gain map is asked for that
            its format can have.
        keeps_name: whether the result has the photograph's own file name. A photograph that is less backlit,
            or was enhanced before, is then copied even if its name belongs to another format.
        again: whether a photograph that was enhanced before is enhanced once more.
        hdr: whether a JPEG gets an HDR gain map where the photograph has none.

    Raises:
        PhotoError: the photograph cannot be read, enhanced or written.
        DeviceError: the provider failed.
        StoppedError: `is_stopped` returned True.
    """
    times = [time.perf_counter()]

    def end_stage() -> None:
        times.append(time.perf_counter())
        if is_stopped is not None and is_stopped():
            raise StoppedError

    photo = read_photo(content, max_megapixels, wide=compiled.library() is not None)
    end_stage()
    height, width = photo.pixels.shape[:2]
    earlier_mark = read_mark(photo.xmp)
    new_pixels = backlit = None
    written_format = output_format(photo.format, format)
    asks_for_more = _asks_for_more(photo, written_format, quality, hdr)
    stays = enhancer.look.changes_nothing and not asks_for_more
    notes: tuple[str, ...] = ()
    if earlier_mark is not None and not (again and stays):
        notes = (earlier_mark.note(again),)
    care = HdrCare(photo, written_format, hdr, content)
    if earlier_mark is None or again:
        scored = enhancer.score_photo(photo, reuse=True, least_score=least_score)
        new_pixels, backlit = scored.pixels, scored.backlit
        stays = stays or (scored.is_same and not asks_for_more)
    end_stage()
    is_left = new_pixels is None
    if may_copy and ((keeps_name and is_left) or ((stays or is_left) and written_format == photo.format)):
        encoded, written_format = Encoded(content, notes), photo.format
        orientation = 1
        is_left = is_left or not enhancer.look.changes_nothing
    else:
        orientation = photo.orientation
        if is_left:
            notes += (f"its pixels were not changed, but written as {written_format}",)
        is_marked = new_pixels is not None and not enhancer.look.changes_nothing
        pixels = photo.pixels if new_pixels is None else new_pixels
        mark = mark_of(enhancer) if is_marked else None
        encoded = encode_photo(photo, pixels, written_format, quality, mark, alone=_is_alone(written_format))
        encoded = Encoded(encoded.content, photo.warnings + notes + encoded.warnings)
        encoded = care.carried(encoded, pixels)
    times.append(time.perf_counter())
    return EnhancedPhoto(
        content=encoded.content,
        format=written_format,
        media_type=media_type_of(written_format),
        source_format=photo.format,
        warnings=encoded.warnings,
        width_px=width,
        height_px=height,
        seconds=times[-1] - times[0],
        orientation=orientation,
        backlit=backlit,
        is_unchanged=is_left,
        enhanced_before=earlier_mark is not None,
        stage_seconds={
            "read": times[1] - times[0],
            "enhance": times[2] - times[1],
            "write": times[3] - times[2],
        },
    )


def _asks_for_more(photo: Photo, format: str, quality: int | None, hdr: bool) -> bool:
    """Whether the options ask for a file that differs from the photograph's in more than its light."""
    sets_quality = quality is not None and format_named(format).has_quality
    return sets_quality or (hdr and GAIN_MAP_NOTE not in photo.warnings)


def _is_alone(format: str) -> bool:
    """Tells whether the system allows too few threads for a format's library to start as many as it likes.

    Raises:
        PhotoError: it allows fewer than the library needs: it would wait for them for ever.
    """
    if format not in ("AVIF", "HEIF"):
        return False
    count = _THREADS + 2 * usable_processors()
    threads = startable_threads(count)
    if format == "HEIF" and threads < _HEIC_THREADS:
        raise PhotoError(
            "cannot be written as HEIC, which needs more threads than the system allows: raise the limit "
            "(ulimit -u, or the container's), or give --format jpeg"
        )
    return threads < count


def mark_of(enhancer: Enhancer) -> Mark:
    """Returns the mark that an enhancer puts into its results."""
    provenance = enhancer.manifest.provenance
    recipe = provenance.get("recipe") or provenance.get("method") or ""
    return Mark(
        version=__version__,
        model=recipe.rpartition(".")[2] if isinstance(recipe, str) else "",
        model_hash=enhancer.manifest.model_hash,
        strength=f"{enhancer.look.strength:g}",
        highlights=f"{enhancer.look.bright_power:g}",
    )


def enhance_bytes(
    enhancer: Enhancer,
    data: bytes | bytearray | memoryview,
    strength: float | None,
    highlights: float | None,
    format: str | None,
    quality: float | None,
    again: bool,
    hdr: bool,
    max_megapixels: float,
) -> EnhancedPhoto:
    """Does what `Enhancer.enhance_bytes` promises, and checks its arguments first.

    Raises:
        UsageError: an argument is out of range, or the format is unknown.
        PhotoError, DeviceError: as `enhance_content`.
    """
    content = _bytes_of(data)
    if quality is not None and not (isinstance(quality, (int, np.integer)) and 1 <= quality <= 100):
        raise UsageError(f"quality is {quality!r}, a whole number from 1 to 100 is needed")
    whole = None if quality is None else int(quality)
    name = None if format is None else parse_format(format)
    varied = vary(enhancer, strength=strength, highlights=highlights)
    return enhance_content(
        varied,
        content,
        format=name,
        quality=whole,
        max_megapixels=max_megapixels,
        again=again,
        hdr=hdr,
    )


def _bytes_of(data: bytes | bytearray | memoryview) -> bytes:
    """Returns the bytes of a file; `bytes` would also make some of a path, a number or pixels.

    Raises:
        UsageError: they are not the bytes of a file.
    """
    try:
        is_file = memoryview(data).ndim == 1
    except TypeError:
        is_file = False
    if not is_file:
        kind = type(data).__name__
        raise UsageError(f"data is {kind}, a file's bytes are needed, such as Path('a.jpg').read_bytes()")
    return bytes(data)


def vary(
    enhancer: Enhancer,
    *,
    strength: float | None = None,
    highlights: float | None = None,
    working_size: int | Literal["same", "full"] = "same",
    is_stopped: Callable[[], bool] | None = None,
) -> Enhancer:
    """Returns an enhancer that shares the network of another one and differs in what one call asks for.

    Args:
        enhancer: the other enhancer, which does not change.
        strength: power of the light map, from 0 to 2; None keeps the other's.
        highlights: its power in bright parts, from 0 to 2; None keeps the other's.
        working_size: long side, in pixels, on which the light is estimated; "same" keeps the other's, "full"
            is full resolution.
        is_stopped: called before each call of the network, which raises `StoppedError` if it is True.

    Raises:
        UsageError: the strength or the size is out of range.
    """
    changes: dict[str, object] = {}
    if strength is not None or highlights is not None:
        changes["look"] = Look(
            enhancer.look.strength if strength is None else strength,
            enhancer.look.highlights if highlights is None else highlights,
        )
    if working_size != "same":
        size = None if working_size == "full" else working_size
        changes["working_size_px"] = check_working_size(size, enhancer.manifest.working_size_px)
    if is_stopped is not None:
        changes["network"] = StoppableNetwork(enhancer.network, is_stopped)
    if not changes:
        return enhancer
    varied = copy.copy(enhancer)
    vars(varied).update(changes)
    return varied


def media_type_of(format: str) -> str:
    """Returns the media type of a format, such as "image/jpeg"."""
    return Image.MIME.get(format, f"image/{format.lower()}")
