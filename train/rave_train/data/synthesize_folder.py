"""Folders of synthetic pairs, with a contact sheet to look at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rave_runtime.arrays import Picture
from rave_train.data.grid import SHEET_ROWS, save_contact_sheet
from rave_train.data.pairs import plain_name
from rave_train.data.photographs import SMALLEST_SIDE_PX, find_photographs, load_reduced
from rave_train.data.synthesis import SynthesisRange, synthesize_backlit
from rave_train.errors import DataError
from rave_train.progress import Report
from rave_train.whole_files import make_folder_of, write_png


@dataclass(frozen=True)
class Synthesized:
    """What became of a folder of photographs.

    Attributes:
        pairs: how many were made.
        left_out: a line for each file or folder that took no part, with the reason.
    """

    pairs: int
    left_out: tuple[str, ...]


def synthesize_folder(
    well_lit: Path,
    out: Path,
    longest_side_px: int | None = None,
    versions: int = 1,
    seed: int = 0,
    report: Report | None = None,
    scene: SynthesisRange | None = None,
) -> Synthesized:
    """Writes `out`/input (backlit) and `out`/gt (their partners), PNG, and `out`/contact_sheet.png.

    Args:
        well_lit: folder of photographs.
        out: new or empty.
        longest_side_px: larger pictures are reduced to it; None keeps their size.
        versions: how many backlit partners each photograph gets.
        seed: the seed of every random choice; a picture's partner depends on it and on the picture's name
            only.
        report: told of the progress.
        scene: ranges to draw from.

    Returns:
        How many pairs were written, and what was left out.

    Raises:
        DataError: no usable photographs, two of one name, `out` is not empty, or an option is out of range.
    """
    require_new_folder(out)
    if longest_side_px is not None and longest_side_px < SMALLEST_SIDE_PX:
        raise DataError(f"size is {longest_side_px} px, at least {SMALLEST_SIDE_PX} are needed")
    if seed < 0:
        raise DataError(f"seed is {seed}, 0 or more is needed")
    photograph_set = find_photographs(well_lit, "well-lit")
    by_scene: dict[str, str] = {}
    for photograph in photograph_set.photographs:
        first = by_scene.setdefault(plain_name(photograph.file), photograph.file.name)
        if first != photograph.file.name:
            raise DataError(
                f"{first} and {photograph.file.name} would both be written as one pair: rename one of them"
            )
    make_folder_of((photograph.file for photograph in photograph_set.photographs), out)
    sheet: list[tuple[Picture, Picture]] = []
    for index, photograph in enumerate(photograph_set.photographs):
        truth = load_reduced(photograph.file, longest_side_px)
        for version in range(versions):
            name = photograph.file.stem + (f"_v{version}" if versions > 1 else "") + ".png"
            rng = np.random.default_rng([seed, version, *os.fsencode(photograph.file.stem)])
            picture = synthesize_backlit(np.divide(truth, 255, dtype=np.float32), rng, scene)
            backlit = (picture * 255 + 0.5).astype(np.uint8)
            write_png(out / "input" / name, Image.fromarray(backlit))
            write_png(out / "gt" / name, Image.fromarray(truth))
            if len(sheet) < SHEET_ROWS:
                sheet.append((backlit, truth))
        if report is not None:
            report("synthesizing", index + 1, len(photograph_set.photographs))
    save_contact_sheet(out, "well-lit", sheet)
    return Synthesized(versions * len(photograph_set.photographs), tuple(photograph_set.describe_skipped()))


def require_new_folder(out: Path) -> None:
    """Makes sure that a folder is new or empty, so that results are not mixed with older files.

    Raises:
        DataError: `out` is a file, or a folder that is not empty.
    """
    if out.is_file():
        raise DataError(f"{out} is a file: give a new or empty folder")
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: give another folder")
