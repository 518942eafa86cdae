"""A photograph in memory: pixels, and what its file says beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Pixels
from rave_runtime.errors import PhotoError

DEFAULT_MAX_MEGAPIXELS: Final = 300.0
"""Larger pictures are refused unless the limit is raised: a small file can claim any size."""

_NEEDED: Final = "an image of [h, w, 3] uint8 or uint16 is needed"


class Blocks(NamedTuple):
    """What a file says beside its pixels.

    Attributes:
        icc_profile: the colour profile, or None.
        exif: EXIF, not yet upright, or None.
        xmp: the packet, not yet upright, or None.
        captions: captions in a block of their own: IPTC-IIM, or for PNG image resources; or None.
        notes: what a user should know of what was left out or moved.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    captions: bytes | None = None
    notes: tuple[str, ...] = ()


class HdrOriginal(NamedTuple):
    """The values of an HDR photograph.

    Attributes:
        values: [h, w, 3] uint16 in its own curve; 65535 is the greatest value of BT.2100.
        primaries: the number of its primaries in ITU-T H.273.
        transfer: the number of its curve there: 16 (PQ) or 18 (HLG).
    """

    values: NDArray[np.uint16]
    primaries: int
    transfer: int


@dataclass(frozen=True)
class Photo:
    """A photograph, upright, and what its file says beside the pixels.

    Attributes:
        pixels: [h, w, 3] or, for grey, [h, w, 1]; uint8 or uint16, in the space of the profile.
        alpha: transparency, [h, w] of the same dtype, or None.
        format: the format of the file it came from, as Pillow names it.
        icc_profile: the colour space of the pixels; None means sRGB.
        exif: EXIF from its `Exif\\0\\0` on, made upright; None where the file has none.
        xmp: the XMP packet, made upright; None where the file has none.
        iptc: captions as IPTC-IIM has them, where they stand neither in EXIF nor in `source`; or None.
        dpi: horizontal and vertical resolution in pixels per inch, or None.
        save_options: settings that keep the encoding like the input's, for `rave_runtime.photos.encode`.
        source: the file's bytes, for formats whose metadata is carried over verbatim.
        orientation: how the file's pixels were turned to become upright, as EXIF numbers it from 1 to 8.
        warnings: sentences that a user should read, such as on further frames that were left behind.
        hdr: the values of an HDR photograph, of which `pixels` holds the view of SDR; None for others.
    """

    pixels: Pixels
    format: str
    alpha: Pixels | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    save_options: Mapping[str, Any] = field(default_factory=dict)
    source: bytes | None = None
    orientation: int = 1
    warnings: tuple[str, ...] = ()
    hdr: HdrOriginal | None = None


def check_size(width: int, height: int, max_megapixels: float) -> None:
    """Refuses a picture that is too large.

    Raises:
        PhotoError: it has more than that many megapixels.
    """
    if width * height > max_megapixels * 1e6:
        raise PhotoError(
            f"is {width} x {height}, over the limit of {max_megapixels:g} megapixels: "
            "raise it with --max-megapixels if the file can be trusted"
        )


def check_image(image: Any) -> None:
    """Refuses what cannot be enhanced.

    Raises:
        PhotoError: it is not an array [h, w, 3] uint8 or uint16, or has no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise PhotoError(f"{_NEEDED}, not {type(image).__name__}: {_way_out(image)}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise PhotoError(f"{_NEEDED}, got {list(image.shape)} {image.dtype}: {_way_out(image)}")
    if not image.size:
        raise PhotoError(f"the image has no pixels: its size is {image.shape[1]} x {image.shape[0]}")


def _way_out(image: Any) -> str:
    """Returns what to do with something that is not an image but may become one."""
    if isinstance(image, (str, bytes, os.PathLike)):
        return "the bytes of a file go to enhance_bytes"
    if not isinstance(image, np.ndarray):
        return "give numpy.asarray(image%s)" % ('.convert("RGB")' if hasattr(image, "convert") else "")
    if image.ndim == 2 or image.shape[2:] == (1,):
        return "give numpy.dstack([image] * 3) if it is grey"
    if image.shape[2:] == (4,):
        return "give image[..., :3], and add the fourth channel to the result"
    if image.ndim == 3 and image.shape[0] == 3 != image.shape[2]:
        return "give image.transpose(1, 2, 0)"
    if image.ndim != 3 or image.shape[2] != 3:
        return "give images one by one, with red, green and blue"
    if np.issubdtype(image.dtype, np.floating):
        return "give (image * 255).round().astype(numpy.uint8) if its values are 0 to 1"
    return "convert it so that white is 255 in uint8, or 65535 in uint16"
