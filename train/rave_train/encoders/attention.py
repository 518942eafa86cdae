"""Self-attention of a frozen vision transformer, faster than torch's own module.

`nn.MultiheadAttention` transposes batch and tokens before its first product, which torch then computes with a
copy of the weights for every picture, in the backward pass too. On a CPU that is a quarter of a step of
guidance. The module here computes the same from the same weights and keeps the batch first throughout.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Takes the place of an `nn.MultiheadAttention` and takes over its parameters under their names."""

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads = original.num_heads
        self.in_proj_weight = original.in_proj_weight
        self.in_proj_bias = original.in_proj_bias
        self.out_proj = original.out_proj

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """[n, tokens, width] -> the same shape, and no weights.

        Args:
            query: the tokens, from which keys and values are computed as well.
            key: the query itself, or None.
            value: the query itself, or None.
            need_weights: must be false.
            attn_mask: must be absent.

        Raises:
            ValueError: anything but unmasked self-attention is asked for.
        """
        others = [x for x in (key, value) if x is not None and x is not query]
        if others or need_weights or attn_mask is not None:
            raise ValueError("only self-attention without a mask is needed of a vision transformer")
        n, tokens, width = query.shape
        joined = F.linear(query.contiguous(), self.in_proj_weight, self.in_proj_bias)
        heads = joined.view(n, tokens, 3, self.num_heads, width // self.num_heads)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        result: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return result, None


def replace_self_attention(model: nn.Module) -> int:
    """Replaces every plain multi-head attention that takes batches first, in place.

    Args:
        model: a vision transformer in eval mode, whose attention is all self-attention.

    Returns:
        How many were replaced; those of another kind (added biases, other widths of keys) stay.
    """
    replaced = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MultiheadAttention) and _is_plain(child):
                setattr(module, name, SelfAttention(child))
                replaced += 1
    return replaced


def _is_plain(attention: nn.MultiheadAttention) -> bool:
    # Where keys or values have other widths than queries, torch registers the joined weight as None.
    joined = attention._parameters["in_proj_weight"] is not None
    return attention.batch_first and joined and attention.bias_k is None and not attention.add_zero_attn
