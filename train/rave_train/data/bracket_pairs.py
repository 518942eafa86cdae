"""Training pairs made of exposure brackets: shots are aligned, merged to the light of the scene, and fused.

The pairs resemble the real scenes by which backlit models are judged. From the merged light, photographs are
rendered at and below the middle exposure. Their truth is the exposure fusion of a dark, a middle and a bright
rendering.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from rave_runtime.arrays import Array, Picture
from rave_train.data.archive import SceneNames, find_folders
from rave_train.data.brackets import BracketSearch, Shot, find_brackets
from rave_train.data.fusion import fuse_exposures
from rave_train.data.grid import SHEET_ROWS, save_contact_sheet, to_pixels
from rave_train.data.photographs import (
    SMALLEST_SIDE_PX,
    TRAINING_ENDINGS,
    check_photographs,
    load_reduced,
)
from rave_train.data.synthesis import linear_to_srgb, srgb_to_linear
from rave_train.data.synthesize_folder import Synthesized, require_new_folder
from rave_train.errors import DataError
from rave_train.progress import Report
from rave_train.whole_files import make_folder_of, write_png

STOPS_BELOW: Final = (0.0, 0.6, 1.3, 2.0)
"""Exposures of the backlit pictures, in stops below the middle."""

_MAX_SHIFT: Final = 0.04
"""Largest shift between two shots of a bracket, as a share of the longer side."""

_MAX_DIFFERENT: Final = 0.15
"""Share of pixels, well exposed in two shots, whose light may differ by over half a stop."""


@dataclass(frozen=True)
class Scene:
    """The light of a bracketed scene.

    Attributes:
        light: [h, w, 3] float32, linear; 1 saturates a shot at the middle exposure.
        span_stops: the difference in exposure from the darkest to the brightest shot.
    """

    light: Array
    span_stops: float

    def render(self, stops: float) -> Array:
        """A photograph at some stops from the middle exposure, [h, w, 3] float32 sRGB in [0, 1]."""
        return linear_to_srgb(np.minimum(self.light * np.float32(2.0**stops), 1))

    def fuse(self) -> Array:
        """The scene as if each part had been exposed for itself, [h, w, 3] float32 sRGB in [0, 1]."""
        half = self.span_stops / 2
        shots = [np.rint(self.render(stops) * 255).astype(np.uint8) for stops in (-half, 0, half)]
        return fuse_exposures(shots)


def make_pairs_of_brackets(
    folder: Path, out: Path, longest_side_px: int = 1080, report: Report | None = None
) -> Synthesized:
    """Writes `out`/input and `out`/gt, PNG, and `out`/contact_sheet.png.

    Args:
        folder: a folder of photographs, brackets and others, or the top of a tree of such folders; their EXIF
            tells which belong together. The shots of a bracket are in one folder.
        out: new or empty.
        longest_side_px: larger pictures are reduced to it.
        report: told of the progress.

    Returns:
        How many pairs were written, and what was left out.

    Raises:
        DataError: the folders hold no usable bracket, `out` is not empty, or the size is too small.
    """
    if longest_side_px < SMALLEST_SIDE_PX:
        raise DataError(f"size is {longest_side_px} px, at least {SMALLEST_SIDE_PX} are needed")
    require_new_folder(out)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: a folder of exposure brackets is needed")
    brackets, left_out = _find_all_brackets(folder, report)
    names = SceneNames(folder)
    sheet: list[tuple[Picture, Picture]] = []
    count = 0
    for done, bracket in enumerate(brackets, 1):
        middle = bracket[len(bracket) // 2].photograph.file
        name = names.name(middle)
        try:
            scene = merge_bracket(bracket, longest_side_px)
        except DataError as error:
            left_out.append(f"{middle.relative_to(folder)} and {len(bracket) - 1} more: {error}")
            continue
        if not count:
            make_folder_of((shot.photograph.file for shots in brackets for shot in shots), out)
        truth = to_pixels(scene.fuse().transpose(2, 0, 1))
        for index, stops in enumerate(STOPS_BELOW):
            backlit = to_pixels(scene.render(-stops).transpose(2, 0, 1))
            for side, pixels in (("input", backlit), ("gt", truth)):
                write_png(out / side / f"{name}_e{index}.png", Image.fromarray(pixels))
            count += 1
        if len(sheet) < SHEET_ROWS:
            sheet.append((backlit, truth))
        if report is not None:
            report("merging brackets", done, len(brackets))
    if not count:
        reasons = "".join(f"; {line}" for line in left_out[:5])
        reasons += f"; and {len(left_out) - 5} more reasons" if len(left_out) > 5 else ""
        raise DataError(
            f"{folder} holds no exposure bracket that can be used (shots of one scene within seconds, "
            f"2 stops or more apart, with their EXIF){reasons}"
        )
    save_contact_sheet(out, "fused", sheet)
    return Synthesized(count, tuple(left_out))


def _find_all_brackets(folder: Path, report: Report | None) -> tuple[list[tuple[Shot, ...]], list[str]]:
    """The brackets in a folder and in all folders in it, and lines about what belongs to none.

    Raises:
        DataError: there is no photograph at all.
    """
    folders = list(find_folders(folder))
    brackets: list[tuple[Shot, ...]] = []
    left_out: list[str] = []
    photographs = 0
    for done, place in enumerate(folders, 1):
        found = check_photographs(place)
        search: BracketSearch = find_brackets(found.photographs)
        photographs += len(found.photographs)
        brackets += search.brackets
        prefix = "" if place == folder else f"{place.relative_to(folder)}{os.sep}"
        left_out += [*found.describe_skipped(), *(f"{prefix}{line}" for line in search.left_out)]
        if report is not None:
            report("looking through folders", done, len(folders))
    if not photographs:
        where = folder if len(folders) == 1 else f"{folder} with the folders in it"
        hint = "".join(f"; {line}" for line in left_out[:5])
        raise DataError(
            f"{where} holds no usable photographs, by the endings of files, such as {TRAINING_ENDINGS}{hint}"
        )
    return brackets, left_out


def merge_bracket(bracket: Sequence[Shot], longest_side_px: int) -> Scene:
    """Aligns the shots of a bracket and merges them to the light of the scene.

    Args:
        bracket: its shots, from the darkest to the brightest.
        longest_side_px: larger pictures are reduced to it first.

    Raises:
        DataError: the shots are shifted too far, or do not show the same scene.
    """
    pictures = _align([load_reduced(shot.photograph.file, longest_side_px) for shot in bracket])
    stops = [shot.stops for shot in bracket]
    middle = (stops[0] + stops[-1]) / 2
    values = [np.divide(picture, 255, dtype=np.float32) for picture in pictures]
    lights = [
        srgb_to_linear(value) * np.float32(2.0 ** (middle - stop))
        for value, stop in zip(values, stops, strict=True)
    ]
    _require_one_scene(values, lights)
    weights = [np.float32(1e-4) + np.clip(1 - np.abs(2 * value - 1), 0, 1) for value in values]
    # Where even the brightest shot is black, it alone counts; where even the darkest is white, that one.
    weights[0] = np.where(values[0] > 0.9, np.float32(1), weights[0])
    weights[-1] = np.where(values[-1] < 0.1, np.float32(1), weights[-1])
    total = np.sum(weights, 0)
    light = np.sum([weight * value for weight, value in zip(weights, lights, strict=True)], 0) / total
    return Scene(np.asarray(light, np.float32), stops[-1] - stops[0])


def _align(pictures: Sequence[Picture]) -> list[Picture]:
    """Shifts pictures onto the middle one and cuts off what not all of them show.

    Source: Ward, Fast, Robust Image Registration for Compositing HDR Photographs, 2003; OpenCV's
    implementation, by median threshold bitmaps, which no exposure changes.

    Raises:
        DataError: they differ in shape, or are shifted too far.
    """
    if len({picture.shape for picture in pictures}) > 1:
        raise DataError("some of its shots are upright and others lie: give all the same orientation in EXIF")
    greys = [cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY) for picture in pictures]
    height, width = greys[0].shape
    limit = max(2, round(_MAX_SHIFT * max(height, width)))
    aligner = cv2.createAlignMTB(max_bits=max(1, limit.bit_length()))
    middle = greys[len(greys) // 2]
    shifts = [(0, 0) if grey is middle else aligner.calculateShift(middle, grey) for grey in greys]
    if max(abs(int(side)) for shift in shifts for side in shift) > limit:
        raise DataError("its shots are shifted too far against each other: use a tripod")
    rights, downs = ([int(shift[axis]) for shift in shifts] for axis in (0, 1))
    left, right = max(0, *rights), width + min(0, *rights)
    top, bottom = max(0, *downs), height + min(0, *downs)
    return [
        picture[top - down : bottom - down, left - across : right - across]
        for picture, across, down in zip(pictures, rights, downs, strict=True)
    ]


def _require_one_scene(values: Sequence[Array], lights: Sequence[Array]) -> None:
    """Checks that neighbouring shots agree on the light of what both exposed well, up to the camera's curve.

    Args:
        values: [h, w, 3] float32 sRGB in [0, 1] of each shot, from dark to bright.
        lights: [h, w, 3] float32 linear light of each shot, all in one unit.

    Raises:
        DataError: they do not agree.
    """
    for i in range(len(values) - 1):
        both = ((values[i] > 0.1) & (values[i] < 0.9) & (values[i + 1] > 0.1) & (values[i + 1] < 0.9)).all(2)
        if both.mean() < 0.005:  # shots far apart have too few such pixels to tell
            continue
        ratio = np.log2(lights[i + 1][both].mean(1) / lights[i][both].mean(1))
        if float((np.abs(ratio - np.median(ratio)) > 0.5).mean()) > _MAX_DIFFERENT:
            raise DataError(
                "its shots do not show the same scene: something moved, or they are not a bracket"
            )
