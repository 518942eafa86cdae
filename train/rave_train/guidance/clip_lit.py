"""CLIP-LIT: the two points are texts whose token embeddings are learned.

Source: CLIP-LIT (arXiv 2303.17569), and RAVE (arXiv 2404.01889), section 3.1.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from rave_train.encoders import TextEncoder
from rave_train.guidance.guidance import PairGuidance

INITIAL_PROMPT: Final = " ".join(["X"] * 16)
"""Both prompts start from these sixteen tokens, as upstream's do."""


class PromptGuidance(PairGuidance):
    """Two prompts: every token embedding of the whole context is a parameter.

    The text feature is read where the initial prompt ends.
    """

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        tokens, end = text.prompt_tokens(INITIAL_PROMPT)
        self.prompts = nn.Parameter(torch.stack([tokens, tokens]))
        self.end = end
        # Kept out of the module tree: the frozen tower is not part of what is learned or saved.
        self._text = [text]

    def pair(self) -> Tensor:
        """The prompts' text features, [2, d]."""
        ends = torch.full((2,), self.end, device=self.prompts.device)
        return self._text[0].embed_prompts(self.prompts, ends)
