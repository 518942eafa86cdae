"""Opening pictures with Pillow: only decoders of photographs run, they print and log nothing, and
their pixels become arrays with one copy.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import re
import threading
import warnings
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImagePalette, JpegImagePlugin, UnidentifiedImageError, features

from rave_runtime.arrays import Pixels
from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.still_gif import StillGif
from rave_runtime.photos.formats import format_of_content
from rave_runtime.photos.headers.bounded import bounded
from rave_runtime.photos.headers.reasons import why_not_taken, why_unreadable
from rave_runtime.photos.jpeg import PHOTOSHOP_SEGMENT, count_scans, end_of_jpeg, plain_header
from rave_runtime.photos.tiff.kinds import Kind, add_kinds, remove_kinds

_STRIP_ROWS: Final = 64
"""Rows copied at a time: a strip that stays in the cache is copied at a third of the cost."""

_KEPT_BLOCKS: Final = 8
"""Freed 16-MiB blocks that Pillow keeps; asking the system for new ones costs as much as decoding."""

_MAX_SCANS: Final = 200
"""Scans of a progressive JPEG. Cameras and editors write about ten; each may cover the whole picture."""

END_OF_JPEG: Final = b"\xff\xd9"

UNKNOWN_FORMAT: Final = "is not a picture, or of a format that is not known here"

_SCAN: Final = re.compile(rb"\xff\xda\x00")
"""The marker of a scan and the first byte of its length, at most 14. Coded pixels hold no such bytes."""

_RESOURCE: Final = b"8BIM"
_MAX_RESOURCES: Final = 50_000
"""Marks of Photoshop's image resources in a JPEG, which has tens of them."""

_COLOUR_MAP: Final = 320
"""TIFF's tag for the colours of a palette, in 16 bits."""

_MAX_COMMENTS: Final = 1000
"""Comments in a PPM of text, each of which costs its decoder a copy of what it has read."""

for _name in ("PIL", "tifffile"):  # silences their logs on damaged files, which are raised here
    logging.getLogger(_name).addHandler(logging.NullHandler())


class _Decoding:
    """Silences decoders' warnings, lifts Pillow's size limit and lets it open more TIFFs.

    That is so while any thread is inside. All are settings of the whole process. The first thread in makes
    them and the last one out takes them back, so that no thread restores what another one set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()
        self._limit = Image.MAX_IMAGE_PIXELS
        self._kinds: frozenset[Kind] = frozenset()

    def __enter__(self) -> Self:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif|tifffile|imagecodecs)\b")
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self._kinds = add_kinds()
            self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self._limit
                remove_kinds(self._kinds)


decoding: Final = _Decoding()
"""The one instance, which is entered around every use of a decoder."""


def open_picture(content: bytes) -> Image.Image:
    """Opens a picture of a known format, without decoding its pixels.

    A JPEG is never opened as a container of several: its first picture is the photograph.

    Raises:
        PhotoError: the format is unknown, the header is damaged, or a library is missing.
    """
    _keep_blocks()
    _limit_threads()
    _silence_libtiff()
    name = format_of_content(content)
    if name is None:
        raise PhotoError(UNKNOWN_FORMAT)
    if name == "HEIF" and not register_heif():
        raise PhotoError("is HEIC: pip install 'rave-backlit[heif]' to read it")
    if name in ("JPEG", "PNG") and (reason := why_unreadable(name, content)) is not None:
        raise PhotoError(reason)
    file = bounded(content)
    try:
        if name == "JPEG":
            _refuse_endless(content)
            image: Image.Image = JpegImagePlugin.JpegImageFile(file)
        elif name == "PPM" and _is_plain(content) and content.count(b"#") > _MAX_COMMENTS:
            raise PhotoError(f"is a PPM of text with over {_MAX_COMMENTS} comments: save it as a binary PPM")
        else:
            image = StillGif(file) if name == "GIF" else Image.open(file, formats=[name])
    except (UnidentifiedImageError, SyntaxError) as error:
        reason = why_unreadable(name, content) if name == "TIFF" else None
        if name == "AVIF" and not features.check("avif"):
            reason = "is AVIF, which this Pillow cannot read: pip install --upgrade pillow"
        if reason is None and name == "TIFF":
            reason = "is damaged, or a kind of TIFF that cannot be read here"
        raise PhotoError(reason or f"is damaged or truncated: its {name} header makes no sense") from error
    if name == "TIFF" and (reason := why_not_taken(content)) is not None:
        raise PhotoError(reason)
    if name == "PNG":
        _scale_transparent_grey(image, content)
    elif image.mode == "P" and (colours := getattr(image, "tag_v2", {}).get(_COLOUR_MAP)):
        _keep_8_bits(image, colours)
    width, height = image.size
    # BMP's runs of equal pixels are read one by one.
    file.start_decoding(8 * width * height if name == "BMP" else 0)
    return image


def _refuse_endless(jpeg: bytes) -> None:
    """Refuses a JPEG whose header or scans would keep a decoder busy for hours.

    The coded pixels need not be searched where any decoder reads the header in the same way, and the picture
    is one scan.

    Raises:
        PhotoError: it has too many scans, or too many image resources.
    """
    header = plain_header(jpeg)
    is_one_scan = header is not None and header.is_one_scan
    may_have_many = not is_one_scan and len(_SCAN.findall(jpeg)) > _MAX_SCANS
    if may_have_many and count_scans(jpeg, _MAX_SCANS) > _MAX_SCANS:
        raise PhotoError(f"has over {_MAX_SCANS} scans, which would take hours to decode")
    head = jpeg if header is None else jpeg[: header.end]
    if PHOTOSHOP_SEGMENT in head and head.count(_RESOURCE) > _MAX_RESOURCES:
        raise PhotoError("is damaged, or no photograph: its header does not end")


def to_pixels(image: Image.Image) -> Pixels:
    """Returns a loaded picture as [h, w, 1 to 4] uint8 or uint16: grey or RGB, with any alpha last.

    Raises:
        PhotoError: its values have no agreed range.
    """
    image = _to_known_mode(image)
    if image.mode == "L":
        return np.asarray(image)[..., None]
    if image.mode.startswith("I;16"):
        return _deep_grey(image)
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def bits_per_channel(image: Image.Image, content: bytes) -> int:
    """Returns the bits per channel of a file whose decoder reduces them to 8; 8 for other files."""
    if image.format == "HEIF" and image.mode not in ("RGB", "RGBA") and not image.mode.startswith("I;16"):
        return int(image.info.get("bit_depth", 8))
    if image.format == "AVIF":
        flags = content[(box := content.find(b"av1C")) + 6 : box + 7]
        return 8 if box < 0 or not flags or not flags[0] & 0x40 else 12 if flags[0] & 0x20 else 10
    codec, _, _, arguments = (getattr(image, "tile", None) or [("", (), 0, ())])[0]
    if codec == "ppm_plain" and image.mode == "RGB" and arguments[1] > 255:
        return 16
    return 8


def lacks_only_its_end(jpeg: bytes) -> bool:
    """Tells whether all pixels of a JPEG are there, and only the marker of its end is missing.

    Decoders fill missing pixels from the bytes that follow, so two different endings give the same picture
    only where no pixel is missing.
    """
    if end_of_jpeg(jpeg) < len(jpeg) or jpeg.endswith(END_OF_JPEG):
        return False
    jpeg = jpeg.rstrip(b"\xff")  # half of the marker
    pictures = []
    for filling in (b"", b"\xaa" * 4096):
        try:
            with JpegImagePlugin.JpegImageFile(bounded(jpeg + filling + END_OF_JPEG)) as image:
                pictures.append(image.tobytes())
        except OSError:
            return False
    return pictures[0] == pictures[1]


@functools.cache
def register_heif() -> bool:
    """Makes Pillow read and write HEIC; tells whether the library for it is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@functools.cache
def _limit_threads() -> None:
    """Makes Pillow decode AVIF in the calling thread where libraries are told to start no others.

    libavif calls a picture damaged for which it could not start a thread.
    """
    if os.environ.get("OMP_NUM_THREADS") == "1":
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@functools.cache
def _keep_blocks() -> None:
    core: Any = vars(Image)["core"]
    if core.get_blocks_max() < _KEPT_BLOCKS:
        core.set_blocks_max(_KEPT_BLOCKS)


@functools.cache
def _silence_libtiff() -> None:
    """Stops libtiff from printing on standard error what is wrong with a file: Pillow raises it as well."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(vars(Image)["core"].__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(library, name)
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)


def _scale_transparent_grey(png: Image.Image, content: bytes) -> None:
    """Scales the transparent value of a grey PNG of 2 or 4 bits as Pillow scales its pixels, to 8 bits."""
    bits, transparent = content[24], png.info.get("transparency")
    if png.mode == "L" and bits in (2, 4) and isinstance(transparent, int):
        top = (1 << bits) - 1
        png.info["transparency"] = (transparent & top) * 255 // top


def _keep_8_bits(tiff: Image.Image, colours: tuple[int, ...]) -> None:
    """Takes the colours of a palette as 8 bits where none needs more: old programs wrote them so.

    Source: libtiff, which decides in the same way (`checkcmap`).
    """
    if max(colours) < 256:
        tiff.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _is_plain(content: bytes) -> bool:
    return content.startswith((b"P1", b"P2", b"P3"))


def _to_known_mode(image: Image.Image) -> Image.Image:
    """Converts a picture to one of Pillow's modes that reading knows, with transparency as a channel."""
    mode, transparency = image.mode, image.info.get("transparency")
    if mode == "RGBA" and image.format == "BMP" and image.getchannel("A").getbbox() is None:
        return image.convert("RGB")  # programs that know no transparency leave its bytes 0
    if mode in ("RGBA", "LA") or mode.startswith("I;16"):
        return image
    if mode == "RGB":
        return image.convert("RGBA") if isinstance(transparency, tuple) else image
    if mode == "L":
        return image.convert("LA") if isinstance(transparency, int) else image
    if mode == "1":
        return _to_known_mode(image.convert("L"))
    if mode == "I" and image.format == "PPM":
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    if mode in ("F", "I"):
        raise PhotoError(
            f"holds {'floating point' if mode == 'F' else '32-bit'} values, which have no agreed range: "
            "save it with 8 or 16 bits per channel"
        )
    if mode in ("P", "PA", "RGBa"):
        return image.convert("RGBA" if mode != "P" or transparency is not None else "RGB")
    if mode == "La":
        return image.convert("LA")
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Pixels:
    pixels: NDArray[Any] = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    if tags.get(258) == (12,):
        pixels = pixels << 4 | pixels >> 8
    if tags.get(262) == 0:  # white is zero, which Pillow respects only for 8 bits
        pixels = np.uint16(65535) - pixels
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(pixels == transparent, 0, 65535).astype(np.uint16)
        return np.stack([pixels, alpha], 2)
    return pixels[..., None]
