"""Entry point of `python -m benchmarks`, which needs what only extras install."""

from __future__ import annotations

import sys
from typing import Final

EXTRAS: Final = {"OpenEXR": "recipe", "av": "video", "cv2": "recipe", "ray": "cluster"}
"""Extras of studies, by the module that they bring; the others come with `bench`."""


def run() -> None:
    """Runs the command line, or says what to install where a module is missing."""
    try:
        from benchmarks.cli import main

        main()
    except ModuleNotFoundError as error:
        name = error.name or ""
        if name.startswith(("benchmarks", "rave_")):
            raise
        extra = EXTRAS.get(name.partition(".")[0], "bench")
        sys.exit(f"{name} is missing: pip install '.[{extra}]' in the clone")


if __name__ == "__main__":
    run()
