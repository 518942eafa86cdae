"""Folders of photographs: finding, checking, hashing and loading them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np
from PIL import Image, ImageOps

from rave_runtime.arrays import Picture
from rave_runtime.backends.limits import allowed_memory_mib, startable_threads
from rave_runtime.errors import PhotoError, printable, reason_of
from rave_runtime.photos.codecs.raw import is_raw
from rave_runtime.photos.colour import cmyk_to_rgb, is_srgb, to_srgb
from rave_runtime.photos.decoders import decoding, open_picture
from rave_runtime.photos.formats import READ_ENDINGS, UNREADABLE_ENDINGS, USUAL_ENDINGS, format_of_content
from rave_runtime.photos.photo import DEFAULT_MAX_MEGAPIXELS
from rave_runtime.photos.reading import read_file
from rave_train.data.shapes import Size
from rave_train.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

Role = Literal["backlit", "well-lit"]
Split = Literal["train", "test"]

SMALLEST_SIDE_PX: Final = 16

HDR_ENDINGS: Final = (".hdr", ".exr")
"""Endings of Radiance and OpenEXR files, which are panoramas where training meets them."""

TRAINING_ENDINGS: Final = ", ".join(ending for ending in USUAL_ENDINGS if ending != ".jxl")
"""The usual endings of photographs to train on, as a list for messages."""

_CHECKING_THREADS: Final = 4
"""Photographs that are decoded at once; each of 50 megapixels takes half a gigabyte."""

_MIB_PER_THREAD: Final = 1024
"""Memory of a container for each photograph that is decoded at once; the rest of training needs some, too."""

_LAYOUTS: Final[dict[tuple[Role, Split], tuple[str, ...]]] = {
    ("backlit", "train"): ("train/input", "train/resize_input", "resize_input", "our485/low", "input", "low"),
    ("backlit", "test"): ("test/input", "test/resize_input", "eval15/low", "input", "low"),
    ("well-lit", "train"): (
        "train/gt", "train/resize_gt", "resize_gt", "our485/high", "DIV2K_train_HR", "gt", "high",
    ),
    ("well-lit", "test"): ("test/gt", "test/resize_gt", "eval15/high", "DIV2K_valid_HR", "gt", "high"),
}  # fmt: skip
"""Where BAID, LOL and DIV2K, unpacked as they come, keep each role's pictures."""


@dataclass(frozen=True)
class Photograph:
    """A photograph's file, which has been decoded once without an error.

    Attributes:
        file: its path.
        content_hash: BLAKE2b hash of the file's bytes, 32 hexadecimal digits.
        size_px: width and height, upright after its EXIF orientation.
    """

    file: Path
    content_hash: str
    size_px: Size


@dataclass(frozen=True)
class PhotographSet:
    """The usable pictures of a folder, by name.

    Attributes:
        folder: where they are (inside a known layout, the folder of the role).
        photographs: sorted by name.
        skipped: files that look like pictures and are not usable, with the reason.
        left_out: a line for each kind of other things in the folder, such as camera raw files or subfolders.
    """

    folder: Path
    photographs: tuple[Photograph, ...]
    skipped: tuple[tuple[Path, str], ...]
    left_out: tuple[str, ...] = ()

    def describe_skipped(self) -> list[str]:
        """A line for each thing in the folder that is left out, with the reason."""
        return [*(f"skipped {file}: {reason}" for file, reason in self.skipped), *self.left_out]


def find_photographs(folder: Path, role: Role, split: Split = "train", least: int = 2) -> PhotographSet:
    """Lists a folder's pictures and decodes each once, so that a long run meets no surprise.

    Args:
        folder: a folder of pictures, or the top of a data set in the layout of BAID, LOL or DIV2K.
        role: which side of such a layout to take.
        split: which part of such a layout to take.
        least: how many usable pictures are needed.

    Raises:
        DataError: the folder is missing, or too few pictures in it are usable.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: a folder of {role} photographs is needed")
    if not _picture_files(folder):
        layout_folders = [folder / name for name in _LAYOUTS[role, split] if _picture_files(folder / name)]
        if not layout_folders:
            hint = "".join(f"; {line}" for line in (*_describe_unread(folder), *_describe_folders(folder)))
            raise DataError(
                f"{folder} holds no pictures, by the endings of its files, such as {TRAINING_ENDINGS}, nor "
                f"the {role} side of BAID, LOL or DIV2K{hint}"
            )
        folder = layout_folders[0]
    found = check_photographs(folder)
    count = len(found.photographs)
    if count < least:
        reasons = "".join(f"; {printable(file.name)}: {reason}" for file, reason in found.skipped[:3])
        raise DataError(
            f"{folder} holds {count} usable {role} photograph{'' if count == 1 else 's'}, "
            f"at least {least} {'is' if least == 1 else 'are'} needed{reasons}"
        )
    return replace(found, left_out=(*found.left_out, *_describe_folders(folder)))


def check_photographs(folder: Path) -> PhotographSet:
    """Decodes each picture of a folder once; there may be none, and folders in it are not looked into."""
    files = _picture_files(folder)
    results = _map(_check, files)
    usable = tuple(item for item in results if isinstance(item, Photograph))
    skipped = tuple((file, item) for file, item in zip(files, results, strict=True) if isinstance(item, str))
    return PhotographSet(folder, usable, skipped, tuple(_describe_unread(folder)))


def load_photograph(file: Path) -> Picture:
    """[h, w, 3] uint8 sRGB, upright after its EXIF orientation.

    Raises:
        DataError: the file has changed since it was found, or is not a photograph.
    """
    with open_photograph(file) as image:
        return np.asarray(_upright_rgb(image))


def load_reduced(file: Path, longest_side_px: int | None) -> Picture:
    """`load_photograph`, reduced to a longest side; smaller pictures, and all with None, keep their size."""
    pixels = load_photograph(file)
    if longest_side_px is None or max(pixels.shape[:2]) <= longest_side_px:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
    return np.asarray(image)


def load_square(file: Path, size_px: int) -> Picture:
    """The whole picture squashed to a square, as published: [size_px, size_px, 3] uint8.

    Raises:
        DataError: the file has changed since it was found, or is not a photograph.
    """
    with open_photograph(file) as image:
        image.draft("RGB", (2 * size_px, 2 * size_px))
        square = _upright_rgb(image).resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(square)


def load_squares(photographs: Sequence[Photograph], size_px: int) -> list[Picture]:
    """Loads many photographs as `load_square` does, a few at once."""
    return _map(lambda photograph: load_square(photograph.file, size_px), photographs)


def _map(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Returns the work's result for each item, computed a few at once where the system allows threads."""
    limit = min(_CHECKING_THREADS, len(items))
    if (memory_mib := allowed_memory_mib()) is not None:
        limit = min(limit, memory_mib // _MIB_PER_THREAD)
    threads = startable_threads(limit)
    if threads < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def hash_set(photographs: Sequence[Photograph]) -> str:
    """One hash of the contents of all photographs in their order, which decides pairs and random draws."""
    digest = hashlib.blake2b(digest_size=16)
    for photograph in photographs:
        digest.update(photograph.content_hash.encode())
    return digest.hexdigest()


def _picture_files(folder: Path) -> list[Path]:
    """The files of a folder whose names end as pictures do, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in READ_ENDINGS and not file.name.startswith(".") and file.is_file()
    )


def plain_entries(folder: Path) -> list[Path]:
    """The files and folders in a folder, sorted, without those that systems keep for themselves."""
    return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith((".", "@", "#", "$"))]


def _describe_unread(folder: Path) -> list[str]:
    """A line about panoramas and one about other pictures that cannot be read, where there are any."""
    unread = [entry for entry in plain_entries(folder) if entry.suffix.lower() in UNREADABLE_ENDINGS]
    hdr = [entry for entry in unread if entry.suffix.lower() in HDR_ENDINGS]
    others = [entry for entry in unread if entry not in hdr]
    remedies = (
        (hdr, "high dynamic range", "rave-train synthesize takes views into panoramas with --panoramas"),
        (others, "kinds that cannot be read", "export as JPEG or TIFF first"),
    )
    lines = []
    for entries, kind, remedy in remedies:
        if entries:
            endings = ", ".join(sorted({entry.suffix.lower() for entry in entries}))
            some = "1 picture" if len(entries) == 1 else f"{len(entries)} pictures"
            verb = "is" if len(entries) == 1 else "are"
            lines.append(f"{some} in {folder} {verb} of {kind} ({endings}): {remedy}")
    return lines


def _describe_folders(folder: Path) -> list[str]:
    """A line about the folders in a folder, where there are any."""
    folders = [entry.name for entry in plain_entries(folder) if entry.is_dir()]
    if not folders:
        return []
    names = ", ".join(folders[:5]) + (f" and {len(folders) - 5} more" if len(folders) > 5 else "")
    count = "1 folder" if len(folders) == 1 else f"{len(folders)} folders"
    return [f"{count} inside {folder} {'is' if len(folders) == 1 else 'are'} not looked into: {names}"]


def _check(file: Path) -> Photograph | str:
    """The photograph, or why it is not usable."""
    try:
        with decoding:
            content = read_file(file)
            if is_raw(content):
                return "is a camera raw file: develop it first, for example to an 8-bit TIFF"
            if format_of_content(content) == "JXL":
                return "is a JPEG XL, which training does not read: convert it to JPEG or TIFF first"
            with open_picture(content) as image:
                width, height = image.size
                if min(width, height) < SMALLEST_SIDE_PX:
                    return f"{width}x{height} px, at least {SMALLEST_SIDE_PX} px each way are needed"
                if width * height > DEFAULT_MAX_MEGAPIXELS * 1e6:
                    return f"{width}x{height} px, over the limit of {DEFAULT_MAX_MEGAPIXELS:g} megapixels"
                if image.mode.startswith(("I", "F")):
                    return "grey of more than 8 bits, which training does not read: convert it to 8 bits"
                image.load()  # decodes all of it; the conversion to RGB is tried on a strip to save memory
                strip = _upright_rgb(image.crop((0, 0, 1, 2)))
    except PhotoError as error:
        return str(error)
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        return f"does not decode ({reason_of(error)})"
    size_px = (width, height) if strip.height == 2 else (height, width)
    return Photograph(file, hashlib.blake2b(content, digest_size=16).hexdigest(), size_px)


@contextmanager
def open_photograph(file: Path) -> Iterator[Image.Image]:
    """Opens a picture by its content, in the formats that the runtime reads; this package has no other way.

    Raises:
        DataError: the file cannot be read, or its content is not such a picture.
    """
    try:
        with decoding, open_picture(read_file(file)) as image:
            yield image
    except PhotoError as error:
        raise DataError(f"{file} {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file} does not decode: {reason_of(error)}") from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    """A picture in sRGB, whatever its colour space, as rave-run shows it to the network."""
    profile, upright = image.info.get("icc_profile"), ImageOps.exif_transpose(image)
    if upright.mode == "CMYK":
        return cmyk_to_rgb(upright, profile)
    upright = upright.convert("RGB")
    if profile is None or is_srgb(profile):
        return upright
    return Image.fromarray(to_srgb(np.asarray(upright), profile))
