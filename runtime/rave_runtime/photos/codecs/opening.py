"""Reading photographs in formats that Pillow does not know, with codecs of the extras."""

from __future__ import annotations

from rave_runtime.photos.codecs.raw import is_raw, read_raw
from rave_runtime.photos.formats import format_of_content
from rave_runtime.photos.photo import Photo


def read_by_codec(content: bytes, max_megapixels: float, *, is_draft: bool = False) -> Photo | None:
    """Reads a photograph in a format that Pillow does not know; None for other files.

    Args:
        content: the file.
        max_megapixels: larger pictures are refused before they are decoded.
        is_draft: whether half of the width and height is enough, where that saves time.

    Raises:
        PhotoError: it cannot be read, or the library for it is missing.
    """
    if is_raw(content):
        return read_raw(content, max_megapixels, half_size=is_draft)
    if format_of_content(content) == "JXL":
        from rave_runtime.photos.codecs.jpeg_xl import read_jxl  # other photographs do not wait for it

        return read_jxl(content, max_megapixels)
    return None
