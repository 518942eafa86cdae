"""Measures PSNR, SSIM, LPIPS and time of a method over pairs of photographs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants.enhancers import Enhance
from rave_runtime.arrays import Picture
from rave_runtime.photos.formats import READ_ENDINGS
from rave_runtime.photos.reading import load_rgb
from rave_train.data.batches import to_tensor
from rave_train.measure.metrics import luma, psnr, ssim

Distance = Callable[[Picture, Picture], float]


class PairsError(ValueError):
    """The folders hold no pairs, or pairs of different sizes."""


@dataclass(frozen=True)
class Pair:
    """A backlit photograph and its truth, of the same stem."""

    photograph: Path
    truth: Path


def find_pairs(photographs: Path, truths: Path, limit: int | None = None) -> list[Pair]:
    """Finds pairs of files with the same stem, by name.

    Args:
        photographs: folder of backlit photographs.
        truths: folder of their truths.
        limit: most pairs, which are evenly picked; None takes all.

    Raises:
        PairsError: there are no pairs.
    """
    left, right = _by_stem(photographs), _by_stem(truths)
    stems = sorted(set(left) & set(right))
    if not stems:
        raise PairsError(
            f"no picture of {photographs} has a partner of the same name in {truths}: give two folders "
            "whose files differ at most in their suffix"
        )
    if limit is not None and limit < len(stems):
        stems = [stems[i * len(stems) // limit] for i in range(limit)]
    return [Pair(left[stem], right[stem]) for stem in stems]


def measure_quality(
    enhance: Enhance, pairs: Sequence[Pair], distance: Distance | None = None
) -> dict[str, Any]:
    """Measures means over pairs for one method.

    Args:
        enhance: the function of the method.
        pairs: the pairs, at least one.
        distance: LPIPS, from `load_lpips`; None leaves it out.

    Returns:
        `psnr_db` and `ssim` on RGB in 8 bits (SSIM with the paper's 11-pixel Gaussian), `lpips` or
        None, `median_s` per photograph with the first one left out, `megapixels` (mean) and `pairs` (count).

    Raises:
        PairsError: the pictures of a pair differ in size, or there are no pairs.
    """
    if not pairs:
        raise PairsError("there are no pairs to measure")
    psnrs_db, similarities, seconds, megapixels = [], [], [], []
    distances: list[float] = []
    for pair in pairs:
        photograph, truth = load_rgb(pair.photograph), load_rgb(pair.truth)
        if photograph.shape != truth.shape:
            raise PairsError(
                f"{pair.photograph} is {photograph.shape[1]}x{photograph.shape[0]}, its truth "
                f"{pair.truth} is {truth.shape[1]}x{truth.shape[0]}: both must be of one size"
            )
        start = time.perf_counter()
        result = enhance(photograph[None])[0]
        seconds.append(time.perf_counter() - start)
        psnrs_db.append(psnr_db(result, truth))
        similarities.append(structural_similarity(result, truth))
        if distance is not None:
            distances.append(distance(result, truth))
        megapixels.append(photograph.shape[0] * photograph.shape[1] / 1e6)
    return {
        "psnr_db": float(np.mean(psnrs_db)),
        "ssim": float(np.mean(similarities)),
        "lpips": float(np.mean(distances)) if distance else None,
        "median_s": float(np.median(seconds[1:] or seconds)),
        "megapixels": float(np.mean(megapixels)),
        "pairs": len(pairs),
    }


def psnr_db(result: Picture, truth: Picture) -> float:
    """PSNR in dB over all channels of two pictures [h, w, 3] uint8; 100 for equal ones."""
    return psnr(to_tensor(result), to_tensor(truth))


def structural_similarity(result: Picture, truth: Picture) -> float:
    """SSIM of two pictures [h, w, 3] uint8, as the mean over channels."""
    return ssim(to_tensor(result), to_tensor(truth))


def luma_similarity(result: Picture, truth: Picture) -> float:
    """SSIM of the Rec. 601 luma of two pictures [h, w, 3] uint8, which papers also report as SSIM."""
    one, other = (luma(to_tensor(side)[None]) for side in (result, truth))
    return ssim(one, other)


def load_lpips(threads: int = 1) -> Distance:
    """Loads LPIPS by SqueezeNet from its authors' package, which downloads weights that are not on disk.

    Args:
        threads: how many threads compute.

    Returns:
        A function from two pictures [h, w, 3] uint8 to their distance, 0 for equal ones.
    """
    import contextlib
    import io
    import warnings

    import lpips
    import torch

    torch.set_num_threads(threads)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net="squeeze", verbose=False).eval()

    def distance(result: Picture, truth: Picture) -> float:
        with torch.inference_mode():
            a, b = (
                torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
                for p in (result, truth)
            )
            return float(model(a, b))

    return distance


def _by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by stem; none where there is no such folder."""
    files = folder.iterdir() if folder.is_dir() else iter(())
    return {file.stem: file for file in sorted(files) if file.suffix.lower() in READ_ENDINGS}
