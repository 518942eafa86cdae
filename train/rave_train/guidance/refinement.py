"""Learning the pair: initialisation and rounds of refinement, on a bank of embedded views.

The pictures of a guidance phase do not change while the pair learns, so their views are embedded
once, and a step costs no pass through the image encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rave_runtime.arrays import Picture
from rave_train.data.augmentation import FOR_GUIDANCE, draw_placement, place
from rave_train.data.batches import to_tensor
from rave_train.encoders import Encoder
from rave_train.guidance.prompt_pair import backlit_scores, initialization_loss, ranking_loss
from rave_train.network import EnhancementNetwork, relight
from rave_train.progress import Report


@dataclass(frozen=True)
class ViewBank:
    """Embedded views, each [pictures, views, d] float32.

    Attributes:
        backlit: the embeddings of the backlit pictures.
        enhanced: the embeddings of the same views enhanced by earlier networks, from older to newer.
        well_lit: the embeddings of the well-lit pictures.
    """

    backlit: Tensor
    enhanced: tuple[Tensor, ...]
    well_lit: Tensor


@torch.no_grad()
def embed_views(
    encoder: Encoder,
    squares: Sequence[Picture],
    views: int,
    seed: Sequence[int],
    device: torch.device,
    network: EnhancementNetwork | None = None,
    report: Report | None = None,
) -> Tensor:
    """Embeds augmented views of pictures, which a network enhances first if one is given.

    Args:
        encoder: on `device`.
        squares: [size, size, 3] uint8 pictures.
        views: how many views of each picture.
        seed: the seed of the augmentation; the same seed gives the same views, enhanced or not.
        device: where to compute.
        network: on `device`, or None for the pictures as they are.
        report: told of the progress.

    Returns:
        [len(squares), views, d] float32 on `device`.
    """
    rows = []
    for index, square in enumerate(squares):
        picture = to_tensor(square)
        if network is not None:
            whole = picture[None].to(device)
            picture = relight(whole, network(whole))[0].cpu()
        placements = [
            draw_placement(FOR_GUIDANCE, np.random.default_rng([*seed, index, view])) for view in range(views)
        ]
        batch = torch.stack([place(picture, placement) for placement in placements]).to(device)
        rows.append(encoder.embed(batch))
        if report is not None:
            report("embedding views", index + 1, len(squares))
    return torch.stack(rows)


def pair_loss(bank: ViewBank, pair: Tensor, batch: int, rng: np.random.Generator) -> Tensor:
    """Loss of one guidance step, [].

    Without enhanced views it is the cross-entropy of eq. 1 and 7 over half a batch of each kind. With
    enhanced views it is the ranking loss of eq. 5 over a batch of tuples.

    Args:
        bank: the views to draw from.
        pair: [2, d] backlit point and well-lit point, with gradients.
        batch: pictures of both kinds together, or tuples.
        rng: the generator that draws them.
    """
    count = batch if bank.enhanced else max(batch // 2, 1)
    backlit_rows, views = _draw(bank.backlit, count, rng)
    well_lit_rows, well_lit_views = _draw(bank.well_lit, count, rng)
    backlit = bank.backlit[backlit_rows, views]
    well_lit = bank.well_lit[well_lit_rows, well_lit_views]
    if not bank.enhanced:
        is_well_lit = torch.arange(2 * count, device=pair.device) >= count
        return initialization_loss(torch.cat([backlit, well_lit]), is_well_lit, pair)
    ranks = [backlit, *(enhanced[backlit_rows, views] for enhanced in bank.enhanced), well_lit]
    return ranking_loss([backlit_scores(embeddings, pair) for embeddings in ranks])


@torch.no_grad()
def separation(bank: ViewBank, pair: Tensor) -> tuple[float, float]:
    """Mean backlit scores in [0, 1] of the backlit and of the well-lit views; learning moves them apart."""
    backlit, well_lit = (
        backlit_scores(embeddings.flatten(0, 1), pair).mean().item()
        for embeddings in (bank.backlit, bank.well_lit)
    )
    return backlit, well_lit


def _draw(bank: Tensor, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draws rows and views of a bank [pictures, views, d], with repetition; [count] int64 each."""
    rows = torch.from_numpy(rng.integers(bank.shape[0], size=count)).to(bank.device)
    views = torch.from_numpy(rng.integers(bank.shape[1], size=count)).to(bank.device)
    return rows, views
