"""Quality on real bracketed scenes by exposure, and what becomes of pictures that have no truth.

A scene is one place photographed against the light at several exposures, and its truth the fusion of a
dark, a middle and a bright shot. One mean would hide that some methods only do well where everything is
dark, others only where the middle is exposed well, so every exposure has its own column. Well-lit pictures
should stay as they are, and low-key pictures should keep their mood. Of backlit photographs it is measured
how much the shade rises, how much the light rises, and how much more of the picture clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.suites.quality import (
    SUFFIXES,
    PairsError,
    luma_similarity,
    psnr_db,
    structural_similarity,
)
from rave_runtime.arrays import Picture
from rave_runtime.photos.reading import load_rgb

EnhanceOne = Callable[[Picture], Picture]
"""[h, w, 3] uint8 -> the same shape."""

Values = npt.NDArray[np.float64]

STOPS_BELOW_MIDDLE: Final = (2.0, 1.3, 0.6, 0.0)
"""How far the photographs NAME-0, NAME-1, ... of a scene are below its middle exposure."""

LOW_KEY_PICTURES: Final = 20
"""Number of pictures, the darkest of all that are well lit, whose mood should stay."""

EQUAL_DB: Final = 60.0
"""PSNR that equal pictures count in a mean over well-lit ones, and the most that any counts."""

_LUMA: Final = np.array([0.2126, 0.7152, 0.0722])
_DARK, _BRIGHT = 1 / 3, 1 / 5
_FLOOR: Final = 1e-5
"""Linear light added before a logarithm: a hundredth of what 8 bits tell from black."""


@dataclass(frozen=True)
class Scene:
    """One place at several exposures.

    Attributes:
        name: stem of the truth.
        photographs: one for each of `STOPS_BELOW_MIDDLE`.
        truth: the fused picture.
    """

    name: str
    photographs: tuple[Path, ...]
    truth: Path


_SCORES: Final = {"psnr_db": psnr_db, "ssim": structural_similarity, "ssim_luma": luma_similarity}
"""What results are measured by, against the truth."""


def find_scenes(folder: Path) -> list[Scene]:
    """Scenes by name: files NAME-0.jpg, NAME-1.jpg, ... and NAME.png.

    Raises:
        PairsError: there is none, or a scene lacks an exposure.
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
    """The scenes to steer by, those kept aside for the end (every third by name), or all of them.

    Raises:
        ValueError: the part is not "all", "steering" or "aside".
    """
    if part == "all":
        return list(scenes)
    if part not in ("steering", "aside"):
        raise ValueError(f"the part is {part!r}, one of all, steering and aside is needed")
    return [scene for i, scene in enumerate(scenes) if (i % 3 == 2) == (part == "aside")]


def find_pictures(folders: Iterable[Path]) -> list[Path]:
    """Picture files of folders, by folder and name."""
    return [
        file for folder in folders for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES
    ]


def read_picture(file: Path) -> Picture:
    """[h, w, 3] uint8 of a file."""
    return load_rgb(file)


def find_low_key(files: Sequence[Path]) -> list[Path]:
    """The darkest pictures by their mean in linear light, darkest first."""
    return sorted(files, key=lambda file: float(linear_luminance(read_picture(file)).mean()))[
        :LOW_KEY_PICTURES
    ]


def measure_scenes(enhance: EnhanceOne, scenes: Sequence[Scene]) -> list[dict[str, float]]:
    """A record per exposure and one of their mean.

    Returns:
        `stops_below` (absent from the mean), `psnr_db` and `ssim` on RGB in 8 bits, and `ssim_luma`.
    """
    records = []
    for i, stops in enumerate(STOPS_BELOW_MIDDLE):
        scores = []
        for scene in scenes:
            result, truth = enhance(read_picture(scene.photographs[i])), read_picture(scene.truth)
            scores.append([measure(result, truth) for measure in _SCORES.values()])
        means = dict(zip(_SCORES, np.mean(scores, 0).tolist(), strict=True))
        records.append({"stops_below": stops, **means})
    mean = {key: float(np.mean([record[key] for record in records])) for key in _SCORES}
    return [*records, mean]


def measure_unchanged(enhance: EnhanceOne, files: Sequence[Path]) -> float:
    """Mean PSNR in dB of well-lit pictures against themselves, `EQUAL_DB` at most each."""
    pictures = map(read_picture, files)
    return float(np.mean([min(EQUAL_DB, psnr_db(enhance(picture), picture)) for picture in pictures]))


def measure_mean_changes(enhance: EnhanceOne, files: Sequence[Path]) -> dict[str, float]:
    """Returns, by file stem, how many EV the mean of each picture changes in linear light."""
    changes = {}
    for file in files:
        picture = read_picture(file)
        before, after = (linear_luminance(p).mean() for p in (picture, enhance(picture)))
        changes[file.stem] = float(np.log2((after + _FLOOR) / (before + _FLOOR)))
    return changes


@dataclass(frozen=True)
class Lift:
    """What became of one backlit photograph.

    Attributes:
        dark_ev: change of the mean in linear light of the pixels that were the darkest third.
        bright_ev: the same of the brightest fifth.
        clipped_points: growth of the share of pixels with a channel at 255, percentage points.
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
    """Rec. 709 luminance in linear light, [h, w] in [0, 1]."""
    levels = np.linspace(0, 1, 256)
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    luminance: Values = linear[picture] @ _LUMA
    return luminance
