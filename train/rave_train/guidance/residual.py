"""RAVE's guidance: the residual vector between two sets of pictures in an encoder's space.

Source: RAVE (arXiv 2404.01889), equations 10 to 14 and its supplementary material.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_train.errors import ConfigError, DataError


@dataclass(frozen=True)
class Residual:
    """The direction in which RAVE pulls the enhanced pictures, and how far.

    Attributes:
        direction: [d] unit vector from backlit to well-lit.
        target: [] projection of the well-lit mean on the direction; every enhanced picture should reach it.
    """

    direction: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Residual:
        """The same on another device."""
        return Residual(self.direction.to(device), self.target.to(device))


def unit(vectors: Tensor) -> Tensor:
    """Vectors divided by their length along the last axis: f(v) of the paper."""
    return F.normalize(vectors, dim=-1)


def mean_direction(embeddings: Tensor) -> Tensor:
    """f(mean f(v)) of the paper: [n, d] embeddings of any norm -> [d] unit vector.

    Raises:
        DataError: no embeddings, or their directions cancel out.
    """
    if not len(embeddings):
        raise DataError("no embeddings to take the mean of: the set of pictures is empty")
    mean = unit(embeddings).mean(0)
    if mean.norm() < 1e-6:
        raise DataError("the directions of the embeddings cancel out: their mean has no direction")
    return unit(mean)


def residual_vector(backlit: Tensor, well_lit: Tensor) -> Tensor:
    """Unit direction in embedding space from backlit to well-lit pictures.

    Args:
        backlit: [n, d] floating point, image embeddings of any norm.
        well_lit: [m, d] floating point, image embeddings of any norm; n and m may differ.

    Returns:
        [d], unit length.

    Raises:
        DataError: a set is empty, or the two means coincide.

    Source: eq. 10 and 13.
    """
    difference = mean_direction(well_lit) - mean_direction(backlit)
    if difference.norm() < 1e-6:
        raise DataError(
            "backlit and well-lit pictures have the same mean embedding: two different sets are needed"
        )
    return unit(difference)


def residual_loss(enhanced: Tensor, residual: Residual) -> Tensor:
    """Mean squared distance along the residual vector between pictures and the well-lit mean.

    Args:
        enhanced: [n, d] embeddings of enhanced pictures, of any norm.
        residual: direction and target.

    Returns:
        [] mean over the n pictures.

    Source: eq. 12.
    """
    return (unit(enhanced) @ residual.direction - residual.target).square().mean()


def token_similarities(tokens: Tensor, direction: Tensor) -> Tensor:
    """Cosine of each token's text embedding [t, d] with a unit direction [d] -> [t].

    Source: eq. 14.
    """
    return unit(tokens) @ direction


def shift_away_from_tokens(direction: Tensor, tokens: Tensor, count: int) -> Tensor:
    """RAVE-shifted: removes from the direction what it shares with the words most and least similar to it.

    The means are weighted by the signed similarities, so the least similar words enter reversed.

    Args:
        direction: [d] residual vector, unit length.
        tokens: [t, d] text embeddings of the vocabulary, not normalised.
        count: how many words to use from each end, the most similar and the least similar.

    Returns:
        [d] unit length, perpendicular to the direction of those words.

    Raises:
        ConfigError: the vocabulary is smaller than the words asked for.
    """
    if not 0 < count <= len(tokens):
        raise ConfigError(f"cannot shift by {count} tokens: a number from 1 to {len(tokens)} is needed")
    similarities = token_similarities(tokens, direction)
    order = similarities.argsort(descending=True)
    ends = [order[:count], order[-count:]]
    parts = [unit((similarities[end, None] * tokens[end]).mean(0)) for end in ends]
    words = unit(parts[0] + parts[1])
    return unit(direction - words * (words @ direction))


def direction_of_word(word: Tensor, backlit: Tensor, well_lit: Tensor) -> Tensor:
    """Guidance by a word instead of the residual vector, turned to point at the well-lit pictures.

    Args:
        word: [d] text embedding, such as that of "darkness".
        backlit: [n, d] image embeddings.
        well_lit: [m, d] image embeddings.

    Returns:
        [d] unit vector: the word's, or its opposite.
    """
    direction = unit(word)
    towards = (mean_direction(well_lit) - mean_direction(backlit)) @ direction
    return direction if towards >= 0 else -direction
