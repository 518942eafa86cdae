"""Where the programs keep files that take long to make but can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

CacheKind = Literal["graphs", "embeddings", "timings", "downloads"]


def cache_folder(kind: CacheKind = "graphs") -> Path | None:
    """Returns the folder for one kind of cache entries, whether it exists or not.

    The variable `RAVE_CACHE_DIR` moves all kinds; if it is set to nothing, none is kept. Without it they lie
    where the system keeps caches.

    Args:
        kind: "graphs" are compiled graphs, "embeddings" the embeddings of training pictures, "timings"
            what TensorRT measured while it built engines, "downloads" fetched files with verified hashes.

    Returns:
        The folder, or None where nothing is to be kept or the user has no home.
    """
    setting = os.environ.get("RAVE_CACHE_DIR")
    if setting == "":
        return None
    try:
        base = Path(setting) if setting is not None else Path(_usual_place()) / "rave-backlit"
        return base.expanduser() / kind
    except RuntimeError:  # a user without a home
        return None


def _usual_place() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    if sys.platform == "darwin":
        return "~/Library/Caches"
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"
