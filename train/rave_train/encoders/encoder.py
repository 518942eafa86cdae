"""The interface every image encoder is used through."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Final, Self

import torch
from torch import Tensor, nn

from rave_train.encoders.attention import SelfAttention
from rave_train.encoders.preprocessing import Preprocessing
from rave_train.encoders.text import TextEncoder
from rave_train.errors import EncoderError
from rave_train.fingerprint import hash_weights

STAGES: Final = 5
"""Most stages that the identity loss compares: as many as CLIP's RN101 has."""

WITH_TEXT: Final = "an open_clip CLIP model (--encoder open_clip:ViT-B-32@openai)"
"""An encoder that has text, for the remedies of messages."""


class Encoder(nn.Module, ABC):
    """A frozen image encoder: gradients flow through it to the pictures, never into its weights.

    Attributes:
        spec: the name by which it was opened.
        preprocessing: its input format.
        text: its text encoder, or None where it has none that can be steered.
    """

    def __init__(self, spec: str, preprocessing: Preprocessing, text: TextEncoder | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.preprocessing = preprocessing
        self.text = text

    def freeze(self) -> None:
        """Fixes the weights and lays them out for channels-last convolutions."""
        self.eval().requires_grad_(False)
        for value in (*self.parameters(), *self.buffers()):
            if value.dim() == 4:  # weights of five axes, which a few networks have, have no such layout
                value.data = value.data.contiguous(memory_format=torch.channels_last)

    def with_weights_in(self, dtype: torch.dtype) -> Self:
        """A version for passes under autocast, its weights converted once instead of at every pass.

        Autocast keeps converted weights for the next pass only where the weights learn.

        Args:
            dtype: the precision of autocast.

        Returns:
            A copy without the text encoder, whose convolutions, linear layers and attention have weights of
            that precision; this encoder itself where the precision is float32.
        """
        if dtype == torch.float32:
            return self
        text, self.text = self.text, None
        low = copy.deepcopy(self)
        self.text = text
        for module in low.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, SelfAttention)):
                module.to(dtype)
        return low

    @abstractmethod
    def forward(self, pixels: Tensor, embed: bool, stages: bool) -> tuple[Tensor | None, list[Tensor]]:
        """One pass over preprocessed pictures.

        Args:
            pixels: [n, 3, size_px, size_px], normalised.
            embed: whether to return the embedding.
            stages: whether to return features of the stages. No layer is run that neither needs.

        Returns:
            [n, d] float32 embedding (not normalised) or None; features of up to `STAGES` stages from
            shallow to deep, [n, channels, h, w] or [n, tokens, channels] float32 each, or [].
        """

    def embed(self, images: Tensor) -> Tensor:
        """[n, 3, h, w] sRGB in [0, 1], squashed -> [n, d] float32, not normalised."""
        embedding: Tensor = self(self._squash(images), embed=True, stages=False)[0]
        return embedding

    def stages(self, images: Tensor) -> list[Tensor]:
        """[n, 3, h, w] sRGB in [0, 1], squashed -> features per stage, float32."""
        features: list[Tensor] = self(self._squash(images), embed=False, stages=True)[1]
        return features

    def embed_with_stages(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`embed` and `stages` in one pass."""
        found: tuple[Tensor, list[Tensor]] = self(self._squash(images), embed=True, stages=True)
        return found

    def require_text(self, purpose: str, remedy: str = f"give {WITH_TEXT}") -> TextEncoder:
        """Returns the text encoder.

        Args:
            purpose: what needs it; the message of the error begins with this.
            remedy: what to do without one; the message ends with this.

        Raises:
            EncoderError: the encoder has none that can be steered.
        """
        if self.text is None:
            raise lacks_text(self.spec, purpose, remedy)
        return self.text

    @torch.no_grad()
    def dimension(self) -> int:
        """Length of an embedding."""
        size = self.preprocessing.size_px
        device = next(self.parameters()).device
        return self.embed(torch.zeros(1, 3, size, size, device=device)).shape[1]

    def fingerprint(self, *, with_text: bool = False) -> str:
        """Hash of all that decides the embeddings: weights, input format, and the spec up to its "@".

        The spec counts since settings such as `pad_type` or `quickgelu` change what the same weights compute.

        Args:
            with_text: whether the weights for text count, on which the embeddings of pictures do not depend.
        """
        named = self.spec.partition("@")[0]
        return hash_weights(self, f"{named} {self.preprocessing!r}", None if with_text else "text.")

    def _squash(self, images: Tensor) -> Tensor:
        return self.preprocessing.squash(images).contiguous(memory_format=torch.channels_last)


def lacks_text(spec: str, purpose: str, remedy: str) -> EncoderError:
    """The error about an encoder without text: its name, what needs text, and what to do instead."""
    return EncoderError(f"{purpose} needs a text encoder, and {spec} has none that can be used: {remedy}")


def spread_stages(depth: int) -> list[int]:
    """Indices of at most `STAGES` of `depth` blocks, evenly apart; the last block is always among them."""
    if depth <= STAGES:
        return list(range(depth))
    return [round((i + 1) * depth / STAGES) - 1 for i in range(STAGES)]
