"""Text side of a CLIP model: words, learnable prompts, and the whole vocabulary."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from rave_runtime.errors import printable

_POOLED_AT_END_OF_TEXT: Final = ("argmax", "eos")


class TextEncoder(nn.Module):
    """The text tower of an open_clip model, opened up so that prompts can be learned.

    Args:
        model: an open_clip model that `is_steerable`.
        load_tokenizer: loads its tokenizer. It is called when a text is first embedded, since runs that are
            guided by pictures alone need none.
    """

    def __init__(self, model: Any, load_tokenizer: Callable[[], Any]) -> None:
        super().__init__()
        self.tower = getattr(model, "text", model)
        self._load_tokenizer = load_tokenizer
        self.context_length = int(model.context_length)

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of open_clip that belongs to the model."""
        return self._load_tokenizer()

    @staticmethod
    def is_steerable(model: Any) -> bool:
        """Whether the text tower reads token embeddings causally, with its feature at the end of the text."""
        tower = getattr(model, "text", model)
        pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
        return (
            pool in _POOLED_AT_END_OF_TEXT
            and getattr(tower, "attn_mask", None) is not None
            and getattr(tower, "cls_emb", None) is None
            and hasattr(tower, "token_embedding")
        )

    def embed_words(self, words: Sequence[str]) -> Tensor:
        """Each text as CLIP reads it, [n, d] float32, not normalised."""
        return self._embed_ids(self._tokenize(words))

    def prompt_tokens(self, text: str) -> tuple[Tensor, int]:
        """The token embeddings from which a learnable prompt starts.

        Returns:
            [context_length, width] token embeddings of the text, and the position of its end.
        """
        ids = self._tokenize([text])
        embeddings: Tensor = self.tower.token_embedding(ids)[0]
        return embeddings.detach().clone(), int(_end_of_text(ids)[0])

    def embed_prompts(self, prompts: Tensor, end: Tensor) -> Tensor:
        """Text features of token embeddings.

        Args:
            prompts: [n, length, width], length at most the context length.
            end: [n] int64, positions where the feature is read.

        Returns:
            [n, d] float32, not normalised; differentiable.
        """
        length = prompts.shape[1]
        x = prompts + self.tower.positional_embedding[:length]
        x = self.tower.transformer(x, attn_mask=self.tower.attn_mask[:length, :length])
        x = self.tower.ln_final(x)[torch.arange(len(x), device=x.device), end]
        projection = self.tower.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Module) else x @ projection
        features: Tensor = x.float()
        return features

    def vocabulary(self) -> list[str]:
        """Every token as people read it, without the mark of a word's end.

        The tokenizer writes each byte of UTF-8 as a letter, so that an emoji would be read as four odd ones.
        Bytes that are a part of a character, and control characters, are escaped.
        """
        decoder: dict[int, str] = self.tokenizer.decoder
        byte_of: dict[str, int] = self.tokenizer.byte_decoder
        spelled = (decoder[i].removesuffix("</w>") for i in range(len(decoder)))
        contents = (bytes(byte_of[letter] for letter in token) for token in spelled)
        return [printable(content.decode("utf-8", "backslashreplace")) for content in contents]

    @torch.no_grad()
    def embed_vocabulary(self, batch: int = 2048, report: Callable[[int, int], None] | None = None) -> Tensor:
        """Each token of the vocabulary as a text by itself, [tokens, d] float32, not normalised.

        The tower is causal, so nothing after the end of the text can change the feature: three
        positions (start, token, end) are run instead of the whole context.

        Args:
            batch: tokens per pass.
            report: called with how many are done and how many there are.
        """
        count = len(self.tokenizer.decoder)
        device = self.tower.positional_embedding.device
        start, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        parts = []
        for first in range(0, count, batch):
            tokens = torch.arange(first, min(first + batch, count), device=device)
            ids = torch.stack([torch.full_like(tokens, start), tokens, torch.full_like(tokens, end)], 1)
            parts.append(self._embed_ids(ids).cpu())
            if report is not None:
                report(first + len(tokens), count)
        return torch.cat(parts)

    def _tokenize(self, texts: Sequence[str]) -> Tensor:
        ids: Tensor = self.tokenizer(list(texts), context_length=self.context_length)
        return ids.to(self.tower.positional_embedding.device)

    def _embed_ids(self, ids: Tensor) -> Tensor:
        return self.embed_prompts(self.tower.token_embedding(ids), _end_of_text(ids))


def _end_of_text(ids: Tensor) -> Tensor:
    """[n, length] token ids -> [n] first positions of the end-of-text token, CLIP's highest id."""
    return ids.argmax(-1)
