"""Folders for what takes long to make and can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path | None:
    """Where entries are kept, whether it exists or not; None where nothing is to be kept."""
    given = os.environ.get("RAVE_CACHE_DIR")
    try:
        if given is not None:
            return Path(given).expanduser() if given else None
        return Path(_usual_place()).expanduser() / "rave-backlit" / "graphs"
    except RuntimeError:  # a user without a home
        return None


def _usual_place() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    if sys.platform == "darwin":
        return "~/Library/Caches"
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"
