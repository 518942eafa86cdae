"""Each method's own options with its published hyper-parameters; no torch, so that help is instant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RaveOptions:
    """RAVE's own options.

    Attributes:
        iterations: number of enhancement steps after the warm-up. The paper states none, only that RAVE
            converges up to 25 times sooner than CLIP-LIT, which takes 50,000.
        guidance_weight: weight of the residual term in the total loss.
        shift_tokens: number of tokens from each end by which the vector is shifted (RAVE-shifted, published
            with 15); 0 leaves it alone.
        guide_token: a word to guide by instead of the residual vector (the paper's ablation).
    """

    iterations: int = 5000
    guidance_weight: float = 6.0
    shift_tokens: int = 0
    guide_token: str | None = None


@dataclass(frozen=True)
class PairOptions:
    """How a pair is learned and used; what CLIP-LIT and CLIP-LIT-Latent have in common.

    Attributes:
        rounds: number of rounds of enhancement and refinement; the last one ends with the enhancement.
        initialize_steps: number of guidance steps before the first round.
        enhance_steps: number of enhancement steps per round.
        refine_steps: number of guidance steps per round.
        guidance_batch: pictures per guidance step, half backlit and half well-lit; in a refinement, tuples of
            a backlit picture, its enhanced versions and a well-lit picture.
        guidance_learning_rate: learning rate of the guidance.
        guidance_weight_decay: weight decay of the guidance.
        guidance_weight: weight of the guidance term in the total loss.
        views: number of augmented views of each picture, embedded before a guidance phase. Upstream
            augments and embeds anew at every step; drawing from a bank of views, renewed for every
            phase, costs a fraction of it.
        view_size_px: side of the guidance pictures, pixels.
        extensions: how often, at most, a phase may be made longer while its running loss is high.
    """

    rounds: int = 16
    initialize_steps: int = 8000
    enhance_steps: int = 2100
    refine_steps: int = 1000
    guidance_batch: int = 16
    guidance_learning_rate: float = 5e-4
    guidance_weight_decay: float = 1e-3
    guidance_weight: float = 1.0
    views: int = 8
    view_size_px: int = 256
    extensions: int = 20


@dataclass(frozen=True)
class ClipLitOptions(PairOptions):
    """CLIP-LIT's options: those of every pair, with the learning rate of prompts."""

    guidance_learning_rate: float = 5e-6


@dataclass(frozen=True)
class ClipLitLatentOptions(PairOptions):
    """CLIP-LIT-Latent's options: those of every pair."""
