"""GIF of which only the first frame is wanted."""

from __future__ import annotations

from typing import Any

from PIL.GifImagePlugin import GifImageFile


class StillGif(GifImageFile):
    """A GIF that is not prepared for its next frame.

    Where the next frame is to be drawn on the background, Pillow fills a picture as large as the first one
    when it opens the file, before its size can be checked: 4 GB for a claim of 65535 x 65535 pixels.
    """

    disposal_method: Any = property(lambda _: 0, lambda *_: None)
