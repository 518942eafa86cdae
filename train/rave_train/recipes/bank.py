"""The training pairs of the embedded model, drawn once, in parallel, the same ones from the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rave_train.data.synthesis import SynthesisRange, photograph, srgb_to_linear, synthesize_backlit
from rave_train.recipes.scenes import (
    SCENE,
    Array,
    Pair,
    draw_subject,
    draw_view,
    find_panoramas,
    fuse_brackets,
    load_panorama,
    take_brackets,
)

Pixels = NDArray[np.uint8]

SHAPES: Final = ((2, 3), (1, 1), (3, 2))
"""Aspects (height to width) of the training pictures; a batch has one."""

LONG_SIDE_PX: Final = 640
"""Photographs are kept at this size; a crop of half of one still is reduced for training."""

WITHOUT: Final = ("night", "studio", "sky", "bridge")
"""Panoramas that show no photograph anybody would call backlit, or were rendered."""

HELD_OUT: Final = ("world/courtyard", "world/city")
"""Panoramas that no network is trained on: views into them are for measuring."""

_LIT_VIEWS: Final = 16
"""Views into each panorama that join the well-lit photographs, their brackets fused."""

_SHARE_OF_LIT_VIEWS: Final = 0.15
"""Among the well-lit photographs that are drawn."""

_MEAN_OF_PHOTOGRAPHS, _SPREAD_OF_PHOTOGRAPHS = 0.43, 0.09
"""Mean sRGB value of well-lit photographs and its standard deviation (Kodak's and Open Images')."""

_EXPOSURE: Final = -0.05
EXPOSURE_SPREAD: Final = 0.45
"""Mean exposure that well-lit photographs are given, as a power of two of their sRGB values, and its
standard deviation. There are few of them: with their own exposure only, a network knows each by heart and
lifts every picture to the brightness that it remembers."""

_LOAD_SUFFIXES: Final = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Mix:
    """How often each kind of pair is drawn; shares of their sum.

    Attributes:
        shade: a well-lit photograph in part darkened along its luminance and a smooth field.
        subject: a sharp dark subject before a well-lit photograph.
        view: a view into a high-dynamic-range panorama.
        lit: a well-lit photograph through the same camera only, which must stay as it is. Were it
            spared noise and JPEG, a network would learn to tell pairs apart by those.
    """

    shade: float = 0.4
    subject: float = 0.25
    view: float = 0.25
    lit: float = 0.1

    def __post_init__(self) -> None:
        """Checks the shares.

        Raises:
            ValueError: a share is negative, or all are 0.
        """
        shares = (self.shade, self.subject, self.view, self.lit)
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"shares of pairs must be 0 or more and not all 0, got {shares}")


@dataclass(frozen=True)
class Drawing:
    """How pairs are drawn.

    Attributes:
        mix: of the kinds; `view` counts as 0 where there is no panorama.
        whole: share of photographs taken whole instead of cropped.
        shades: light and camera of photographs that are darkened; each pair draws one.
        exposure_spread: standard deviation of the exposure that photographs are given, in powers of two of
            sRGB values.
    """

    mix: Mix = field(default_factory=Mix)
    whole: float = 0.3
    shades: tuple[SynthesisRange, ...] = (SCENE,)
    exposure_spread: float = EXPOSURE_SPREAD


@dataclass(frozen=True)
class Sources:
    """What pairs are made of.

    Attributes:
        photographs: [h, w, 3] float32 each, sRGB in [0, 1].
        panoramas: [h, 2h, 3] float32 each, linear light.
        lit_views: into the panoramas, well lit: more photographs, of places that those do not show.
    """

    photographs: list[Array]
    panoramas: list[Array]
    lit_views: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class Bank:
    """Pairs by shape: backlit and truth, [n, 3, h, w] uint8 each."""

    backlit: list[Pixels]
    truth: list[Pixels]

    def __len__(self) -> int:
        return sum(map(len, self.backlit))


def load_sources(photographs: Iterable[Path], panoramas: Iterable[Path] = ()) -> Sources:
    """Reads what pairs are made of.

    Args:
        photographs: picture files, or folders of them.
        panoramas: folders of equirectangular panoramas; those of `WITHOUT` and `HELD_OUT` are left out.

    Raises:
        FileNotFoundError: there is no photograph at all, or no panorama in the folders given.
        OSError: a file cannot be read.
    """
    pictures = []
    for place in photographs:
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            if file.suffix.lower() in _LOAD_SUFFIXES:
                image = Image.open(file).convert("RGB")
                image.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX), Image.Resampling.LANCZOS)
                pictures.append(np.asarray(image, np.float32) / np.float32(255))
    if not pictures:
        raise FileNotFoundError(f"no .png or .jpg in {', '.join(map(str, photographs))}")
    folders = list(panoramas)
    found = find_panoramas(folders)
    if folders and not found:
        raise FileNotFoundError(f"no .exr or .exr.js in {', '.join(map(str, folders))}")
    used = [
        load_panorama(file)
        for name, file in found.items()
        if name not in HELD_OUT and name.rpartition("/")[2] not in WITHOUT
    ]
    return Sources(pictures, used, _take_lit_views(used))


def _take_lit_views(panoramas: list[Array]) -> list[Array]:
    """[h, w, 3] sRGB each, about as large as the panorama is sharp."""
    rng = np.random.default_rng(0)
    views = []
    for panorama in panoramas:
        long_px = panorama.shape[1] // 4
        for index in range(_LIT_VIEWS):
            high, wide = SHAPES[index % len(SHAPES)]
            unit = long_px / max(high, wide)
            scene = take_brackets(panorama, rng, round(high * unit), round(wide * unit))
            fused = fuse_brackets(scene.linear, scene.exposures)
            # Fusion is brighter than photographs are, and what pairs teach about brightness must be theirs.
            wanted = np.clip(rng.normal(_MEAN_OF_PHOTOGRAPHS, _SPREAD_OF_PHOTOGRAPHS), 0.2, 0.7)
            views.append(_with_mean(fused, float(wanted)))
    return views


def _with_mean(picture: Array, mean: float) -> Array:
    """The picture with a gamma that gives it a mean."""
    low, high = 0.05, 20.0
    for _ in range(24):
        exponent = (low * high) ** 0.5
        low, high = (exponent, high) if float((picture**exponent).mean()) > mean else (low, exponent)
    return np.asarray(picture**exponent, np.float32)


def make_bank(
    sources: Sources, drawing: Drawing, pairs: int, area_px: int, seed: int, processes: int | None = None
) -> Bank:
    """Draws `pairs` pairs, a third in each of `SHAPES`.

    Args:
        sources: what they are made of.
        drawing: how.
        pairs: how many.
        area_px: pixels of one picture.
        seed: pair i depends on it and on i only, not on `processes`.
        processes: that draw; one a core unless given.
    """
    backlit: list[list[Pixels]] = [[] for _ in SHAPES]
    truth: list[list[Pixels]] = [[] for _ in SHAPES]
    work = _Work(sources, drawing, area_px, seed)
    with ProcessPoolExecutor(processes, get_context("fork"), _set_work, (work,)) as pool:
        for index, (dark, lit) in enumerate(pool.map(_draw, range(pairs), chunksize=64)):
            backlit[index % len(SHAPES)].append(dark)
            truth[index % len(SHAPES)].append(lit)
    return Bank([np.stack(side) for side in backlit], [np.stack(side) for side in truth])


def batches(bank: Bank, batch: int, rng: np.random.Generator) -> Iterator[tuple[Pixels, Pixels]]:
    """Endless batches of one shape each, [batch, 3, h, w] uint8, mirrored at random."""
    while True:
        shape = int(rng.integers(len(bank.backlit)))
        chosen = rng.integers(len(bank.backlit[shape]), size=batch)
        backlit, truth = bank.backlit[shape][chosen], bank.truth[shape][chosen]
        mirrored = rng.random(batch) < 0.5
        backlit[mirrored] = backlit[mirrored][..., ::-1]
        truth[mirrored] = truth[mirrored][..., ::-1]
        yield backlit, truth


def to_tensor(pixels: Pixels, device: torch.device | None = None) -> Tensor:
    """[n, 3, h, w] uint8 -> the same, float32 in [0, 1], on the CPU unless a device is given."""
    return torch.from_numpy(pixels).to(device).float() / 255


@dataclass(frozen=True)
class _Work:
    sources: Sources
    drawing: Drawing
    area_px: int
    seed: int


_work: _Work


def _set_work(work: _Work) -> None:
    global _work
    _work = work


def _draw(index: int) -> tuple[Pixels, Pixels]:
    rng = np.random.default_rng([_work.seed, index])
    high, wide = SHAPES[index % len(SHAPES)]
    unit = (_work.area_px / (high * wide)) ** 0.5
    backlit, truth = draw_pair(_work.sources, _work.drawing, rng, round(high * unit), round(wide * unit))
    return _planes(backlit), _planes(truth)


def draw_pair(sources: Sources, drawing: Drawing, rng: np.random.Generator, height: int, width: int) -> Pair:
    """One pair of a random kind, [height, width, 3] float32 each."""

    def shade() -> Pair:
        lit = expose(crop())
        return synthesize_backlit(lit, rng, drawing.shades[rng.integers(len(drawing.shades))]), lit

    def subject() -> Pair:
        return draw_subject(expose(crop()), crop(), rng)

    def view() -> Pair:
        while True:
            pair = draw_view(sources.panoramas[rng.integers(len(sources.panoramas))], rng, height, width)
            if pair is not None:
                return pair

    def lit() -> Pair:
        picture = expose(crop())
        return photograph(srgb_to_linear(picture), rng, SCENE), picture

    def crop() -> Array:
        views = sources.lit_views
        shown = views if views and rng.random() < _SHARE_OF_LIT_VIEWS else sources.photographs
        picture = shown[rng.integers(len(shown))]
        return _crop(
            picture, rng, height, width, 1.0 if rng.random() < drawing.whole else rng.uniform(0.5, 1)
        )

    def expose(picture: Array) -> Array:
        balance = rng.uniform(-0.1, 0.1, 3) + rng.normal(_EXPOSURE, drawing.exposure_spread)
        grey = picture.mean(2, keepdims=True)
        vivid = grey + (picture - grey) * rng.uniform(0.7, 1.2)
        return np.asarray(np.clip(vivid * 2.0**balance, 0, 1), np.float32)

    mix = drawing.mix
    kinds: list[tuple[Callable[[], Pair], float]] = [
        (shade, mix.shade),
        (subject, mix.subject),
        (view, mix.view if sources.panoramas else 0.0),
        (lit, mix.lit),
    ]
    shares = np.array([share for _, share in kinds])
    return kinds[rng.choice(len(kinds), p=shares / shares.sum())][0]()


def _crop(picture: Array, rng: np.random.Generator, height: int, width: int, share: float) -> Array:
    """A crop of that share of both sides, mirrored or not, squashed to the shape."""
    crop_h, crop_w = int(picture.shape[0] * share), int(picture.shape[1] * share)
    top = rng.integers(picture.shape[0] - crop_h + 1)
    left = rng.integers(picture.shape[1] - crop_w + 1)
    crop = Image.fromarray(_eight_bits(picture[top : top + crop_h, left : left + crop_w]))
    small = crop.resize((width, height), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(small, np.float32) / np.float32(255)


def _planes(picture: Array) -> Pixels:
    return np.ascontiguousarray(_eight_bits(picture).transpose(2, 0, 1))


def _eight_bits(picture: Array) -> Pixels:
    return (picture * 255 + 0.5).astype(np.uint8)
