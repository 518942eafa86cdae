"""Measures unchanged pictures, classical methods, checkpoints and a bundle on real scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.contestants.enhancers import Setting, load_enhancer
from benchmarks.contestants.methods import find_method
from benchmarks.contestants.ours import light_at
from benchmarks.suites.contest import Row
from benchmarks.suites.quality import psnr_db
from benchmarks.suites.real_scenes import (
    EQUAL_DB,
    EnhanceOne,
    Scene,
    find_low_key,
    find_pictures,
    find_scenes,
    measure_lift,
    measure_mean_changes,
    measure_scenes,
    measure_unchanged,
    select_part,
)
from rave_runtime import Enhancer
from rave_runtime.arrays import Picture
from rave_runtime.photos.reading import load_rgb

CLASSICAL: Final = ("gamma-0.6", "lime-0.5")
"""Methods without a network, with the exponents that do best on the scenes."""

STRONG: Final = 2.0
"""The greatest strength of the runtime, where highlights clip first."""


@dataclass(frozen=True)
class Pictures:
    """The pictures that methods are measured on.

    Attributes:
        scenes: bracketed scenes with their truths.
        well_lit: pictures that should stay as they are.
        backlit: backlit photographs without a truth.
        part: which scenes were taken: "all", "steering" or "aside".
        low_key: dark pictures that should stay dark.
    """

    scenes: Sequence[Scene]
    well_lit: Sequence[Path] = ()
    backlit: Sequence[Path] = ()
    part: str = "all"
    low_key: Sequence[Path] = field(default=())


def find_all(scenes: Path, well_lit: Sequence[Path], backlit: Sequence[Path], part: str) -> Pictures:
    """Finds the pictures of all kinds; the low-key ones are the darkest of the well-lit ones.

    Raises:
        PairsError: there are no scenes, one lacks an exposure, or a folder has no pictures.
        ValueError: there is no part of this name.
        OSError: a folder cannot be read.
    """
    lit = find_pictures(well_lit)
    return Pictures(
        select_part(find_scenes(scenes), part), lit, find_pictures(backlit), part, find_low_key(lit)
    )


def measure_real(
    pictures: Pictures,
    bundle: str | None,
    precision: str,
    checkpoints: Sequence[Path],
    say: Callable[[str], None],
    save: Callable[[list[Row]], object],
) -> list[Row]:
    """Measures all methods, the bundle first; returns a row per method and set of pictures, the bundle last.

    Args:
        pictures: the pictures to measure on.
        bundle: folder of the runtime's bundle; None is the embedded one.
        precision: the precision of the bundle: "fp32", "fp16" or "int8".
        checkpoints: other networks, which run as in the runtime, at the bundle's working size.
        say: called with each method's name before it is measured.
        save: called with all rows so far after each method, so that a run that is stopped loses little.

    Raises:
        RaveError: the bundle, the precision or a checkpoint cannot be used; nothing was measured then.
        OSError: likewise, of a file that cannot be read.
    """

    def run(strength: float = 1.0, of: str = precision) -> EnhanceOne:
        return Enhancer(bundle, of, "cpu", strength=strength).enhance

    working_size_px = Enhancer(bundle, "fp32", "cpu").working_size_px or 0
    ours = run()
    networks = [(file.stem, light_at(file, working_size_px)) for file in checkpoints]
    title = f"rave-backlit, light at {working_size_px} px, {precision}"
    say("ours")
    of_bundle = measure_method("ours", title, ours, pictures)
    save(of_bundle)
    of_bundle += measure_lifts("ours", f"{title}, strength {STRONG:g}", run(STRONG), pictures.backlit)
    if precision != "fp32":
        say(f"{precision} against fp32")
        of_bundle.append(measure_rounding(title, ours, run(of="fp32"), pictures))
    save(of_bundle)
    rows: list[Row] = []

    def measure(name: str, title: str, enhance: EnhanceOne) -> None:
        say(name)
        rows.extend(measure_method(name, title, enhance, pictures))
        save([*rows, *of_bundle])

    measure("input", "The photograph as it is", lambda picture: picture)
    for name in CLASSICAL:
        method = find_method(name)
        batch = load_enhancer(method, Setting())
        measure(name, method.title, lambda picture, batch=batch: batch(picture[None])[0])  # type: ignore[misc]
    for name, enhance in networks:
        measure(name, f"{name}, light at {working_size_px} px", enhance)
    return [*rows, *of_bundle]


def measure_method(name: str, title: str, enhance: EnhanceOne, pictures: Pictures) -> list[Row]:
    """Measures one method; returns a row per set of pictures."""
    about: dict[str, Any] = {"method": name, "title": title}
    rows: list[Row] = [
        {
            **about,
            "set": f"{pictures.part} scenes",
            "stops_below": record.get("stops_below", "mean"),
            "psnr_db": record["psnr_db"],
            "ssim": record["ssim"],
            "ssim_luma": record["ssim_luma"],
            "pictures": len(pictures.scenes),
        }
        for record in measure_scenes(enhance, pictures.scenes)
    ]
    for folder in dict.fromkeys(file.parent for file in pictures.well_lit):
        files = [file for file in pictures.well_lit if file.parent == folder]
        rows.append(
            {
                **about,
                "set": f"well-lit, {folder.name}",
                "psnr_db": measure_unchanged(enhance, files),
                "pictures": len(files),
            }
        )
    if pictures.low_key:
        changes = measure_mean_changes(enhance, pictures.low_key)
        rows.append(
            {
                **about,
                "set": "low-key",
                "mean_change_ev": float(np.mean(list(changes.values()))),
                "largest_change_ev": max(changes.values(), key=abs),
                "pictures": len(changes),
                "names": " ".join(changes),
            }
        )
    return rows + measure_lifts(name, title, enhance, pictures.backlit)


def measure_lifts(name: str, title: str, enhance: EnhanceOne, files: Sequence[Path]) -> list[Row]:
    """Measures how a method changes backlit photographs; returns a row for each."""
    rows: list[Row] = []
    for file in files:
        picture = load_rgb(file)
        lift = measure_lift(picture, enhance(picture))
        rows.append(
            {
                "method": name,
                "title": title,
                "set": "backlit",
                "names": file.stem,
                "dark_ev": lift.dark_ev,
                "bright_ev": lift.bright_ev,
                "clipped_points": lift.clipped_points,
            }
        )
    return rows


def measure_rounding(
    title: str, enhance_rounded: EnhanceOne, enhance_exact: EnhanceOne, pictures: Pictures
) -> Row:
    """Measures how far a precision is from float32 over all pictures: the lowest and the median PSNR."""
    files = [file for scene in pictures.scenes for file in scene.photographs]
    files += [*pictures.backlit, *pictures.well_lit]
    distances: list[tuple[float, str]] = []
    for file in files:
        picture: Picture = load_rgb(file)
        distances.append(
            (min(EQUAL_DB, psnr_db(enhance_rounded(picture), enhance_exact(picture))), file.stem)
        )
    return {
        "method": "rounding",
        "title": title,
        "set": "against fp32",
        "psnr_db": min(distances)[0],
        "median_db": float(np.median([distance for distance, _ in distances])),
        "names": min(distances)[1],
        "pictures": len(files),
    }
