"""Scores by a pair of points in an encoder's space, one for backlit and one for well-lit pictures.

CLIP-LIT reaches the points through a text encoder, CLIP-LIT-Latent moves them directly; what follows
is the same for both.

Source: CLIP-LIT (arXiv 2303.17569), equations 1, 3, 5 and 6 of RAVE (arXiv 2404.01889).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_train.guidance.residual import unit

NEGATIVE: Final = 0
POSITIVE: Final = 1
"""Rows of a pair: the backlit point, then the well-lit one."""

LOGIT_SCALE: Final = 100.0
"""Factor on the cosines in the softmax, as in CLIP and upstream's code; the paper writes none."""


@dataclass(frozen=True)
class Margins:
    """How far the scores of ranks must lie apart.

    Attributes:
        to_backlit: between backlit pictures and everything better (m0).
        between: between neighbouring ranks above backlit (m1 and m2).
    """

    to_backlit: float
    between: float


PUBLISHED_MARGINS: Final = {2: Margins(1.0, 0.0), 3: Margins(0.9, 0.2), 4: Margins(0.9, 0.1)}
"""Upstream's margins by the number of ranks: 2, plus one for each enhanced set between them."""


def backlit_scores(embeddings: Tensor, pair: Tensor) -> Tensor:
    """How backlit pictures look, in [0, 1].

    Args:
        embeddings: [n, d] image embeddings of any norm.
        pair: [2, d] backlit point and well-lit point, of any norm.

    Returns:
        [n] softmax of the scaled cosines, taken at the backlit point.

    Source: eq. 3, 6, 8 and 9.
    """
    return pair_logits(embeddings, pair).softmax(-1)[:, NEGATIVE]


def pair_logits(embeddings: Tensor, pair: Tensor) -> Tensor:
    """Scaled cosines [n, 2] of image embeddings [n, d] with the two points [2, d]."""
    return LOGIT_SCALE * unit(embeddings) @ unit(pair).T


def initialization_loss(embeddings: Tensor, is_well_lit: Tensor, pair: Tensor) -> Tensor:
    """Cross-entropy of telling backlit from well-lit pictures by the pair.

    Args:
        embeddings: [n, d] image embeddings.
        is_well_lit: [n] bool.
        pair: [2, d].

    Returns:
        [] mean over the n pictures.

    Source: eq. 1 and 7.
    """
    return F.cross_entropy(pair_logits(embeddings, pair), is_well_lit.long())


def ranking_loss(scores: Sequence[Tensor], margins: Margins | None = None) -> Tensor:
    """Asks each rank to score lower (less backlit) than the one before, by a margin.

    Args:
        scores: [n] each, in [0, 1]: backlit, then enhanced sets from older to newer (at most two),
            then well-lit.
        margins: None takes the published ones for this number of ranks.

    Returns:
        [] mean over the n tuples of a sum of hinge terms: well-lit and the first enhanced set against
        backlit, and every two neighbouring ranks above backlit.

    Raises:
        ValueError: fewer than two or more than four ranks.

    Source: eq. 5.
    """
    if len(scores) not in PUBLISHED_MARGINS:
        raise ValueError(f"{len(scores)} ranks given: from 2 to 4 are needed")
    margins = margins or PUBLISHED_MARGINS[len(scores)]
    backlit, *better = scores
    loss = _exceeds(better[-1], backlit, margins.to_backlit)
    if len(better) > 1:
        loss = loss + _exceeds(better[0], backlit, margins.to_backlit)
    for worse, well in pairwise(better):
        loss = loss + _exceeds(well, worse, margins.between)
    return loss.mean()


def _exceeds(lower: Tensor, higher: Tensor, margin: float) -> Tensor:
    """By how much scores that should be lower than others by a margin miss that, at least 0; [n] each."""
    return torch.relu(lower - higher + margin)
