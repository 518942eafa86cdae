"""RAVE: guidance by the residual vector between well-lit and backlit pictures; nothing is learned.

Source: RAVE (arXiv 2404.01889), section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rave_train.encoders import Encoder
from rave_train.guidance.guidance import Guidance, GuidanceLoss
from rave_train.guidance.options import RaveOptions
from rave_train.guidance.residual import (
    Residual,
    direction_of_word,
    mean_direction,
    residual_loss,
    residual_vector,
    shift_away_from_tokens,
)


class RaveGuidance(Guidance):
    """Pulls the enhanced pictures along the residual vector to where the well-lit ones are."""

    def __init__(self, direction: Tensor, target: Tensor) -> None:
        super().__init__()
        self.vector: Tensor
        self.target: Tensor
        self.register_buffer("vector", direction)
        self.register_buffer("target", target)

    def fixed_loss(self) -> GuidanceLoss:
        """Squared distance to the target along the vector (eq. 12)."""
        residual = Residual(self.vector, self.target)
        return lambda embeddings: residual_loss(embeddings, residual)

    def direction(self) -> Tensor:
        """The residual vector, which may be shifted, or the direction of a word in its place."""
        return self.vector


def guide_by_residual(
    options: RaveOptions,
    backlit: Tensor,
    well_lit: Tensor,
    encoder: Encoder,
    vocabulary: Tensor | None = None,
) -> RaveGuidance:
    """Builds RAVE's guidance from the embeddings of both sets.

    Args:
        options: whether to shift, or to guide by a word.
        backlit: [n, d] embeddings.
        well_lit: [m, d] embeddings.
        encoder: the encoder of the embeddings; its text side is used for `guide_token` only.
        vocabulary: [tokens, d] text embeddings, needed for `shift_tokens`.

    Raises:
        DataError: a set is empty, or both means coincide.
        ValueError: `shift_tokens` is given without the vocabulary.
        EncoderError: a word is asked for and the encoder has no text encoder.
    """
    if options.guide_token is not None:
        text = encoder.require_text("--guide-token")
        word = text.embed_words([options.guide_token])[0].detach().cpu()
        direction = direction_of_word(word, backlit, well_lit)
    else:
        direction = residual_vector(backlit, well_lit)
    if options.shift_tokens:
        if vocabulary is None:
            raise ValueError("shifting the residual vector needs the embedded vocabulary")
        direction = shift_away_from_tokens(direction, vocabulary, options.shift_tokens)
    return RaveGuidance(direction, torch.dot(mean_direction(well_lit), direction))
