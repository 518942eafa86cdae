"""Folders of synthetic pairs, with a contact sheet to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from rave_train.embeddings import Report
from rave_train.grid import save_grid
from rave_train.photographs import DataError, Photograph, Pixels, find_photographs, load_photograph
from rave_train.synthesis import SynthesisRange, synthesize_backlit

_SHEET_ROWS: Final = 12


def synthesize_folder(
    well_lit: Path,
    out: Path,
    longest_side_px: int | None = None,
    versions: int = 1,
    seed: int = 0,
    report: Report | None = None,
    scene: SynthesisRange | None = None,
) -> int:
    """Writes `out`/input (backlit) and `out`/gt (their partners), PNG, and `out`/contact_sheet.png.

    Args:
        well_lit: folder of photographs.
        out: new or empty.
        longest_side_px: larger pictures are reduced to it; None keeps their size.
        versions: how many backlit partners each photograph gets.
        seed: of every random choice; a picture's partner depends on it and on the picture's name only.
        report: told of the progress.
        scene: ranges to draw from.

    Returns:
        How many pairs were made.

    Raises:
        DataError: no usable photographs, or `out` is not empty.
    """
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: give another folder")
    found = find_photographs(well_lit, "well-lit")
    for side in ("input", "gt"):
        (out / side).mkdir(parents=True, exist_ok=True)
    sheet: list[tuple[Pixels, Pixels]] = []
    for index, photograph in enumerate(found.photographs):
        truth = _load(photograph, longest_side_px)
        for version in range(versions):
            name = photograph.file.stem + (f"_v{version}" if versions > 1 else "") + ".png"
            rng = np.random.default_rng([seed, version, *photograph.file.stem.encode()])
            made = synthesize_backlit(np.divide(truth, 255, dtype=np.float32), rng, scene)
            backlit = (made * 255 + 0.5).astype(np.uint8)
            Image.fromarray(backlit).save(out / "input" / name)
            Image.fromarray(truth).save(out / "gt" / name)
            if len(sheet) < _SHEET_ROWS:
                sheet.append((backlit, truth))
        if report is not None:
            report("synthesizing", index + 1, len(found.photographs))
    columns = [("backlit", [row[0] for row in sheet]), ("well-lit", [row[1] for row in sheet])]
    save_grid(out / "contact_sheet.png", columns)
    return versions * len(found.photographs)


def _load(photograph: Photograph, longest_side_px: int | None) -> Pixels:
    pixels = load_photograph(photograph.file)
    if longest_side_px is None or max(pixels.shape[:2]) <= longest_side_px:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
    return np.asarray(image)
