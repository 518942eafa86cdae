"""Draws the training pairs of the embedded model: once, in parallel, and the same ones from the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rave_runtime.arrays import Array, Picture
from rave_runtime.photos.formats import format_named
from rave_runtime.photos.reading import load_rgb
from rave_train.data.batches import WORKERS_START
from rave_train.recipes.panoramas import ENDINGS, HELD_OUT, UNUSED, find_panoramas, load_panorama
from rave_train.recipes.scenes import (
    Pair,
    Sources,
    draw_lit,
    draw_shade,
    draw_silhouette,
    draw_subject,
    draw_view,
    lifted_stops,
)

SHAPES: Final = ((2, 3), (2, 3), (2, 3), (3, 2))
"""Height and width of the training pictures in turn: three of four lie, one stands."""

LONG_SIDE_PX: Final = 640
"""Long side at which photographs are kept: a crop of half a photograph is still reduced for training."""

_PICTURE_ENDINGS: Final = (*format_named("PNG").endings, *format_named("JPEG").endings)
_TRIES: Final = 12
"""How often a scene is drawn before a well-lit picture takes its place."""

STAYS: Final = 8 / 255
"""Mean difference of a pair, in [0, 1], that noise and compression make: the photograph shall stay."""

_STAYING_WEIGHT, _DARK_WEIGHT = 1.2, 1.6
_LEAST_STOPS, _DARK_STOPS, _BACKLIT_STOPS = 0.1, 1.2, (0.6, 0.25)
"""The weights of `weigh`, and the stops by which it tells kinds of pairs apart, as its docstring says."""

_Draw = Callable[[Sources, np.random.Generator, int, int], list[Pair]]


@dataclass(frozen=True)
class Mix:
    """How often each kind of pair is drawn, as shares of their sum.

    Attributes:
        view: a view into a high-dynamic-range panorama.
        silhouette: such a view, exposed for its highlights.
        subject: a dark subject before a bright view or photograph.
        shade: a well-lit photograph in part darkened.
        lit: a well-lit or low-key picture that must stay as it is.
    """

    view: float = 0.44
    silhouette: float = 0.08
    subject: float = 0.18
    shade: float = 0.1
    lit: float = 0.2

    def __post_init__(self) -> None:
        """Checks the shares.

        Raises:
            ValueError: a share is negative, or all are 0.
        """
        shares = astuple(self)
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"shares of pairs must be 0 or more and not all 0, got {shares}")


@dataclass(frozen=True)
class Bank:
    """Training pairs in memory, in one array for each shape: pictures that lie, and pictures that stand.

    Attributes:
        photographs: [n, 3, h, w] uint8 for each shape.
        truths: the same shapes; each is what its photograph should become.
    """

    photographs: list[Picture]
    truths: list[Picture]

    def __len__(self) -> int:
        return sum(map(len, self.photographs))


def load_sources(photographs: Iterable[Path], panoramas: Iterable[Path] = ()) -> Sources:
    """Reads the photographs and panoramas of which pairs are made.

    Args:
        photographs: PNG and JPEG files, or folders of them.
        panoramas: folders of equirectangular panoramas; those of `UNUSED` and `HELD_OUT` are left out.

    Raises:
        FileNotFoundError: there is no photograph at all, or no panorama in the folders given.
        OSError: a file cannot be read.
    """
    places, folders = list(photographs), list(panoramas)
    pictures = []
    for place in places:
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            if file.suffix.lower() in _PICTURE_ENDINGS:
                image = Image.fromarray(load_rgb(file))
                image.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX), Image.Resampling.LANCZOS)
                pictures.append(np.asarray(image, np.float32) / np.float32(255))
    if not pictures:
        raise FileNotFoundError(f"no .png or .jpg in {', '.join(map(str, places))}")
    found = find_panoramas(folders)
    if folders and not found:
        raise FileNotFoundError(f"no {', '.join(ENDINGS)} in {', '.join(map(str, folders))}")
    used = [
        load_panorama(file)
        for name, file in found.items()
        if name not in HELD_OUT and name.rpartition("/")[2] not in UNUSED
    ]
    return Sources(pictures, used)


def make_bank(
    sources: Sources, mix: Mix, pairs: int, long_side_px: int, seed: int, processes: int | None = None
) -> Bank:
    """Draws pairs until there are as many as wanted.

    Args:
        sources: what the pairs are made of.
        mix: the shares of the kinds; kinds that need a panorama count as 0 where there is none.
        pairs: how many pairs; a multiple of 8 gives equal shares of `SHAPES`.
        long_side_px: the long side of each picture; the other side is two thirds of it.
        seed: pair i depends on it and on i only, not on the number of processes.
        processes: how many processes draw; None takes one for each core.
    """
    photographs: dict[bool, list[Picture]] = {False: [], True: []}
    truths: dict[bool, list[Picture]] = {False: [], True: []}
    work = _Work(sources, mix, long_side_px, seed)
    cv2.setNumThreads(1)  # before a fork: its threads would not be there after it
    with ProcessPoolExecutor(processes, get_context(WORKERS_START), _set_work, (work,)) as pool:
        for drawn in pool.map(_draw, range(-(-pairs // 2)), chunksize=32):
            for photograph, truth in drawn:
                stands = photograph.shape[1] > photograph.shape[2]
                photographs[stands].append(photograph)
                truths[stands].append(truth)
    filled = [stands for stands in photographs if photographs[stands]]
    return Bank([np.stack(photographs[s]) for s in filled], [np.stack(truths[s]) for s in filled])


def save_samples(bank: Bank, folder: Path, count: int = 128) -> None:
    """Writes `count` evenly picked pairs as NNN.png into `photographs` and `truths` below a folder."""
    for name, sides in (("photographs", bank.photographs), ("truths", bank.truths)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        pictures = [picture for side in sides for picture in side]
        for i in range(min(count, len(pictures))):
            picture = pictures[i * len(pictures) // min(count, len(pictures))]
            Image.fromarray(picture.transpose(1, 2, 0)).save(folder / name / f"{i:03}.png")


def weigh(bank: Bank, backlit_weight: float) -> list[Array]:
    """Computes how often each pair of a bank is drawn once the network has seen all of them.

    Pictures that stay count a little more than those that change least, so that they still stay afterwards.
    Pictures whose shade rises by less than a tenth of a stop are left out, since nobody asks a backlit
    photograph to become darker. Those whose shade rises by more than 1.2 stops count more. Those that are
    backlit in the narrow sense count most: their shade rises by more than 0.6 stops, their brightest fifth by
    less than 0.25.

    Args:
        bank: the pairs.
        backlit_weight: how often those that are backlit come; others come 0 to 1.6 times.

    Returns:
        [n] float32 for each shape of the bank.
    """
    weights = []
    for photographs, truths in zip(bank.photographs, bank.truths, strict=True):
        weights.append(np.ones(len(photographs), np.float32))
        for i, pair in enumerate(zip(photographs, truths, strict=True)):
            taken, truth = (side.transpose(1, 2, 0).astype(np.float32) / np.float32(255) for side in pair)
            if np.abs(taken - truth).mean() < STAYS:
                weights[-1][i] = _STAYING_WEIGHT
                continue
            shade, bright = lifted_stops(taken, truth)
            if shade > _BACKLIT_STOPS[0] and bright < _BACKLIT_STOPS[1]:
                weights[-1][i] = backlit_weight
            else:
                weights[-1][i] = _DARK_WEIGHT if shade > _DARK_STOPS else float(shade >= _LEAST_STOPS)
    return weights


def batches(
    bank: Bank, batch: int, rng: np.random.Generator, weights: list[Array] | None = None
) -> Iterator[tuple[Picture, Picture]]:
    """Yields batches without end: photographs and truths, [batch, 3, h, w] uint8, mirrored at random.

    All pairs of a batch have one shape.

    Args:
        bank: the pairs.
        batch: pairs in a batch.
        rng: the source of all choices.
        weights: how often each pair is drawn, as `weigh` says; None draws all equally often.
    """
    if weights is None:
        weights = [np.ones(len(side), np.float32) for side in bank.photographs]
    sums = [np.cumsum(side, dtype=np.float64) for side in weights]
    shares = np.array([len(side) for side in bank.photographs]) / len(bank)
    while True:
        shape = int(rng.choice(len(shares), p=shares))
        chosen = np.searchsorted(sums[shape], rng.random(batch) * sums[shape][-1], side="right")
        photographs, truths = bank.photographs[shape][chosen], bank.truths[shape][chosen]
        mirrored = rng.random(batch) < 0.5
        photographs[mirrored] = photographs[mirrored][..., ::-1]
        truths[mirrored] = truths[mirrored][..., ::-1]
        yield photographs, truths


def to_tensor(pixels: Picture, device: torch.device | None = None) -> Tensor:
    """Converts [n, 3, h, w] uint8 to float32 in [0, 1], on the CPU unless a device is given."""
    return torch.from_numpy(pixels).to(device).float() / 255


def draw_pairs(sources: Sources, mix: Mix, rng: np.random.Generator, height: int, width: int) -> list[Pair]:
    """Draws two pairs [h, w, 3] of one kind; of a scene that cannot be drawn, a well-lit picture."""
    kinds: list[tuple[_Draw, float]] = [
        (draw_view, mix.view if sources.panoramas else 0.0),
        (draw_silhouette, mix.silhouette if sources.panoramas else 0.0),
        (draw_subject, mix.subject),
        (draw_shade, mix.shade),
        (draw_lit, mix.lit),
    ]
    shares = np.array([share for _, share in kinds])
    draw = kinds[rng.choice(len(kinds), p=shares / shares.sum())][0]
    pairs: list[Pair] = []
    for _ in range(_TRIES):
        pairs += draw(sources, rng, height, width)
        if len(pairs) >= 2:
            return pairs[:2]
    while len(pairs) < 2:
        pairs += draw_lit(sources, rng, height, width)
    return pairs[:2]


@dataclass(frozen=True)
class _Work:
    sources: Sources
    mix: Mix
    long_side_px: int
    seed: int


_work: _Work


def _set_work(work: _Work) -> None:
    global _work
    _work = work
    cv2.setNumThreads(1)  # once more, for processes that are no forks


def _draw(index: int) -> list[tuple[Picture, Picture]]:
    rng = np.random.default_rng([_work.seed, index])
    high, wide = SHAPES[index % len(SHAPES)]
    unit = _work.long_side_px / max(high, wide)
    drawn = draw_pairs(_work.sources, _work.mix, rng, round(high * unit), round(wide * unit))
    return [(_planes(photograph), _planes(truth)) for photograph, truth in drawn]


def _planes(picture: Array) -> Picture:
    return np.ascontiguousarray((picture * 255 + 0.5).astype(np.uint8).transpose(2, 0, 1))
