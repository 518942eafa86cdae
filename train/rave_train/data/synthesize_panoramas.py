"""Training pairs made of high-dynamic-range panoramas: views towards the light, as a camera takes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from rave_runtime.arrays import Picture
from rave_train.data.grid import SHEET_ROWS, save_contact_sheet, to_pixels
from rave_train.data.photographs import SMALLEST_SIDE_PX
from rave_train.data.synthesize_folder import Synthesized, require_new_folder
from rave_train.errors import DataError
from rave_train.progress import Report
from rave_train.recipes.panoramas import ENDINGS, find_panoramas, load_panorama, panorama_name
from rave_train.recipes.scenes import Sources, draw_view
from rave_train.whole_files import make_folder_of, write_png

DEFAULT_SIDE_PX: Final = 512
_TRIES: Final = 24
"""Most views tried for one pair: in some directions the light is too even, or exceeds what brackets hold."""


def synthesize_panoramas(
    folder: Path, out: Path, longest_side_px: int | None = None, versions: int = 1, seed: int = 0,
    report: Report | None = None,
) -> Synthesized:  # fmt: skip
    """Writes `out`/input (photographs of views) and `out`/gt (fused brackets), PNG, and a contact sheet.

    Args:
        folder: a folder of equirectangular panoramas, Radiance (.hdr) or OpenEXR (.exr).
        out: new or empty.
        longest_side_px: the longest side of the views, which are 3:2; None takes `DEFAULT_SIDE_PX`.
        versions: how many views to take of each panorama.
        seed: the seed of every random choice; a view depends on it and on the panorama's name only.
        report: told of the progress.

    Returns:
        How many pairs were written, and what was left out.

    Raises:
        DataError: the folder holds no panorama that can be read, `out` is not empty, or an option is out of
            range.
    """
    side = longest_side_px or DEFAULT_SIDE_PX
    if side * 2 // 3 < SMALLEST_SIDE_PX:
        raise DataError(f"size is {side} px, at least {SMALLEST_SIDE_PX * 3 // 2} are needed for a 3:2 view")
    if seed < 0:
        raise DataError(f"seed is {seed}, 0 or more is needed")
    require_new_folder(out)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: a folder of panoramas is needed")
    files = find_panoramas([folder])
    if not files:
        raise DataError(f"{folder} holds no panoramas ({', '.join(ENDINGS)})")
    left_out: list[str] = []
    sheet: list[tuple[Picture, Picture]] = []
    count = 0
    for done, file in enumerate(files.values(), 1):
        name = panorama_name(file)
        try:
            sources = Sources([], [load_panorama(file)])
        except ValueError as error:
            left_out.append(f"skipped {error}")
            continue
        for version in range(versions):
            rng = np.random.default_rng([seed, version, *os.fsencode(name)])
            height, width = (side * 2 // 3, side) if rng.random() < 0.75 else (side, side * 2 // 3)
            tries = (draw_view(sources, rng, height, width) for _ in range(_TRIES))
            pairs = next((pairs for pairs in tries if pairs), [])
            if not pairs:
                left_out.append(
                    f"{file.name}: no view with enough light behind it was found (view {version})"
                )
                continue
            backlit, truth = (to_pixels(picture.transpose(2, 0, 1)) for picture in pairs[-1])
            if not count:
                make_folder_of(files.values(), out)
            for part, pixels in (("input", backlit), ("gt", truth)):
                write_png(out / part / f"{name}_v{version}.png", Image.fromarray(pixels))
            count += 1
            if len(sheet) < SHEET_ROWS:
                sheet.append((backlit, truth))
        if report is not None:
            report("looking into panoramas", done, len(files))
    if not count:
        raise DataError("\n".join([f"no pair could be made of {folder}", *left_out]))
    save_contact_sheet(out, "fused", sheet)
    return Synthesized(count, tuple(left_out))
