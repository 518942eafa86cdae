"""The web page's files, as they are served: no build step makes others of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


class PageFile(NamedTuple):
    """A file of the page.

    Attributes:
        content: its bytes.
        media_type: its Content-Type.
    """

    content: bytes
    media_type: str


PAGE_FILES: Final = {
    "/" if file.name == "page.html" else f"/{file.name}": PageFile(
        file.read_bytes(), _MEDIA_TYPES[file.suffix]
    )
    for file in sorted(Path(__file__).parent.iterdir())
    if file.suffix in _MEDIA_TYPES
}
"""The files by the path under which they are asked for; the page itself is at `/`."""
