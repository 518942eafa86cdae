"""Where the three programs keep what takes long to make and can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

CacheKind = Literal["graphs", "embeddings", "timings", "downloads"]


def cache_folder(kind: CacheKind = "graphs") -> Path | None:
    """The folder for one kind of cache entries, whether it exists or not.

    `RAVE_CACHE_DIR` moves all kinds, and keeps none if it is empty. Otherwise they lie where the system
    keeps caches.

    Args:
        kind: "graphs" are compiled graphs, "embeddings" those of training pictures, "timings" what
            TensorRT measured while it built engines, "downloads" what was fetched and checked by its hash.

    Returns:
        The folder, or None where nothing is to be kept or the user has no home.
    """
    given = os.environ.get("RAVE_CACHE_DIR")
    if given == "":
        return None
    try:
        base = Path(given) if given is not None else Path(_usual_place()) / "rave-backlit"
        return base.expanduser() / kind
    except RuntimeError:  # a user without a home
        return None


def _usual_place() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    if sys.platform == "darwin":
        return "~/Library/Caches"
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"
