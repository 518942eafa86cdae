"""Measures quality on real bracketed scenes by exposure, and how pictures without a truth change.

A scene is one backlit place photographed at several exposures; its truth is the fusion of a dark, a middle
and a bright shot. A single mean would hide that some methods do well only where everything is dark, others
only where the middle is exposed well, so each exposure is measured separately. Well-lit pictures should stay
as they are, and low-key pictures should stay dark. For backlit photographs without a truth it is measured how
much the dark and the bright parts rise, and how much more of the picture clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.suites.quality import (
    PairsError,
    luma_similarity,
    psnr_db,
    structural_similarity,
)
from rave_runtime.arrays import Picture
from rave_runtime.photos.formats import READ_ENDINGS
from rave_runtime.photos.headers.colour_codes import LUMINANCE, srgb_light
from rave_runtime.photos.reading import load_rgb

EnhanceOne = Callable[[Picture], Picture]
"""A function of one picture, [h, w, 3] uint8 -> the same shape."""

Values = npt.NDArray[np.float64]

STOPS_BELOW_MIDDLE: Final = (2.0, 1.3, 0.6, 0.0)
"""How far the photographs NAME-0, NAME-1, ... of a scene are below its middle exposure."""

LOW_KEY_PICTURES: Final = 20
"""Number of low-key pictures, which are the darkest of the well-lit ones and should stay dark."""

EQUAL_DB: Final = 60.0
"""Limit in dB of each PSNR in a mean over well-lit pictures; that of equal ones would be infinite."""

_LUMA: Final = np.array(LUMINANCE)
_DARK, _BRIGHT = 1 / 3, 1 / 5
_FLOOR: Final = 1e-5
"""Linear light that is added before a logarithm, about a thirtieth of the smallest 8-bit step above black."""


@dataclass(frozen=True)
class Scene:
    """One place at several exposures.

    Attributes:
        name: stem of the truth.
        photographs: a file for each of `STOPS_BELOW_MIDDLE`.
        truth: the file of the fused picture.
    """

    name: str
    photographs: tuple[Path, ...]
    truth: Path


_SCORES: Final = {"psnr_db": psnr_db, "ssim": structural_similarity, "ssim_luma": luma_similarity}
"""Functions that compare a result with the truth, by name."""


def find_scenes(folder: Path) -> list[Scene]:
    """Finds the scenes of a folder, each of files NAME-0.jpg, NAME-1.jpg, ... and NAME.png; sorted by name.

    Raises:
        PairsError: there are no scenes, or one lacks an exposure.
    """
    scenes = []
    for truth in sorted(folder.glob("*.png")):
        photographs = tuple(folder / f"{truth.stem}-{i}.jpg" for i in range(len(STOPS_BELOW_MIDDLE)))
        missing = [file.name for file in photographs if not file.is_file()]
        if missing:
            raise PairsError(f"{folder} has the truth {truth.name} but not {', '.join(missing)}")
        scenes.append(Scene(truth.stem, photographs, truth))
    if not scenes:
        raise PairsError(
            f"{folder} has no scenes: NAME.png and NAME-0.jpg to NAME-{len(STOPS_BELOW_MIDDLE) - 1}.jpg are "
            "needed for each"
        )
    return scenes


def select_part(scenes: Sequence[Scene], part: str) -> list[Scene]:
    """Selects a part of the scenes: every third by name ("aside", for final figures), the others, or all.

    Raises:
        ValueError: the part is not "all", "steering" or "aside".
    """
    if part == "all":
        return list(scenes)
    if part not in ("steering", "aside"):
        raise ValueError(f"the part is {part!r}, one of all, steering and aside is needed")
    return [scene for i, scene in enumerate(scenes) if (i % 3 == 2) == (part == "aside")]


def find_pictures(folders: Iterable[Path]) -> list[Path]:
    """Finds the picture files of folders, by folder and name.

    Raises:
        PairsError: a folder has none.
        OSError: a folder cannot be read.
    """
    found: list[Path] = []
    for folder in folders:
        files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in READ_ENDINGS]
        if not files:
            raise PairsError(f"{folder} has no pictures, by the endings of its files")
        found += files
    return found


def find_low_key(files: Sequence[Path]) -> list[Path]:
    """The darkest pictures by their mean in linear light, darkest first."""
    return sorted(files, key=lambda file: float(linear_luminance(load_rgb(file)).mean()))[:LOW_KEY_PICTURES]


def measure_scenes(enhance: EnhanceOne, scenes: Sequence[Scene]) -> list[dict[str, float]]:
    """Measures a method on scenes.

    Returns:
        A record per exposure and one of their mean, with `stops_below` (not in the mean), `psnr_db` and
        `ssim` on RGB in 8 bits, and `ssim_luma`.
    """
    records = []
    for i, stops in enumerate(STOPS_BELOW_MIDDLE):
        scores = []
        for scene in scenes:
            result, truth = enhance(load_rgb(scene.photographs[i])), load_rgb(scene.truth)
            scores.append([measure(result, truth) for measure in _SCORES.values()])
        means = dict(zip(_SCORES, np.mean(scores, 0).tolist(), strict=True))
        records.append({"stops_below": stops, **means})
    mean = {key: float(np.mean([record[key] for record in records])) for key in _SCORES}
    return [*records, mean]


def measure_unchanged(enhance: EnhanceOne, files: Sequence[Path]) -> float:
    """Mean PSNR in dB between well-lit pictures and what a method makes of them, each at most `EQUAL_DB`."""
    pictures = map(load_rgb, files)
    return float(np.mean([min(EQUAL_DB, psnr_db(enhance(picture), picture)) for picture in pictures]))


def measure_mean_changes(enhance: EnhanceOne, files: Sequence[Path]) -> dict[str, float]:
    """By file stem, the change in EV of the mean linear light of each picture."""
    changes = {}
    for file in files:
        picture = load_rgb(file)
        before, after = (linear_luminance(p).mean() for p in (picture, enhance(picture)))
        changes[file.stem] = float(np.log2((after + _FLOOR) / (before + _FLOOR)))
    return changes


@dataclass(frozen=True)
class Lift:
    """How a method changed one backlit photograph.

    Attributes:
        dark_ev: change in EV of the mean linear light of the pixels that were the darkest third.
        bright_ev: the same for the pixels that were the brightest fifth.
        clipped_points: increase of the share of pixels with a channel at 255, in percentage points.
    """

    dark_ev: float
    bright_ev: float
    clipped_points: float


def measure_lift(picture: Picture, result: Picture) -> Lift:
    """Compares a photograph with its enhanced version, [h, w, 3] uint8 each."""
    before, after = linear_luminance(picture), linear_luminance(result)
    dark = before <= np.quantile(before, _DARK)
    bright = before >= np.quantile(before, 1 - _BRIGHT)

    def change_ev(where: npt.NDArray[np.bool_]) -> float:
        return float(np.log2((after[where].mean() + _FLOOR) / (before[where].mean() + _FLOOR)))

    clipped = [100 * float((p.max(2) == 255).mean()) for p in (picture, result)]
    return Lift(change_ev(dark), change_ev(bright), clipped[1] - clipped[0])


def linear_luminance(picture: Picture) -> Values:
    """Rec. 709 luminance in linear light of a picture [h, w, 3] uint8 -> [h, w] in [0, 1]."""
    linear = srgb_light(np.linspace(0, 1, 256))
    luminance: Values = linear[picture] @ _LUMA
    return luminance
