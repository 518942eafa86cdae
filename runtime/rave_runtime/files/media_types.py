"""Media types of files in object stores, without which browsers offer photographs for download only."""

from __future__ import annotations

import posixpath
from typing import Final

_ARGUMENTS: Final = {"s3": "ContentType", "s3a": "ContentType", "gs": "content_type", "gcs": "content_type"}
"""What s3fs and gcsfs call the media type. Other stores are not told, or guess it by the name."""

_NEW_TYPES: Final = {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jxl": "image/jxl",
    ".mkv": "video/matroska",
}
"""Media types that Python's own table lacks in some versions."""


def media_type_argument(protocol: str, name: str) -> dict[str, str]:
    """Returns the argument of fsspec's `pipe_file` that states a file's media type, by its name.

    Args:
        protocol: the store's, such as "s3".
        name: the file's name.

    Returns:
        The argument's name and value. Nothing for stores that are not told, and for unknown endings.
    """
    import mimetypes  # here, so that runs without a store do not wait for it

    argument = _ARGUMENTS.get(protocol)
    ending = posixpath.splitext(name)[1].lower()
    media_type = _NEW_TYPES.get(ending) or mimetypes.types_map.get(ending)
    return {argument: media_type} if argument and media_type else {}
