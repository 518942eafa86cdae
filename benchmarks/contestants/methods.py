"""The methods that are compared: what each is, where it comes from, and how to build it.

Entries are strings, so that listing the methods does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Family = Literal["ours", "diffusion", "transformer", "convolutional", "classical"]
Kind = Literal["network", "array", "runtime", "command"]


@dataclass(frozen=True)
class Method:
    """One way to enhance a photograph.

    Attributes:
        name: its name on the command line.
        title: its name in tables.
        family: what kind of method it is.
        kind: a torch network, a function of arrays, our runtime in a process, or the `rave-run` command.
        source: the paper or package it comes from.
        entry: `module:name` of the network or function; "" for the runtime.
        arguments: the arguments of the network or function; of `Enhancer` for the runtime.
        signed: whether the network takes and returns values in [-1, 1] rather than [0, 1].
        sampled: number of equal diffusion steps, whose cost follows from that of one and two of them;
            `arguments` then holds `samples`. None for other methods.
        quality_only: whether only quality is measured, since another method costs exactly the same.
    """

    name: str
    title: str
    family: Family
    kind: Kind
    source: str
    entry: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    signed: bool = False
    sampled: int | None = None
    quality_only: bool = False


_OURS = "benchmarks.contestants.ours:WholeImage"
_BASELINES = "benchmarks.baselines"
_DIFF_RETINEX = f"{_BASELINES}.diff_retinex:DiffRetinex"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "ours",
            "rave-backlit (light at the bundle's working size)",
            "ours",
            "runtime",
            "this project",
            arguments={"working_size": "recommended"},
        ),
        Method(
            "ours-full",
            "rave-backlit, full resolution, tiled",
            "ours",
            "runtime",
            "this project",
            arguments={"working_size": None},
        ),
        Method("rave-run", "rave-run, JPEG to JPEG, start included", "ours", "command", "this project"),
        Method(
            "ours-torch",
            "RAVE / CLIP-LIT network in PyTorch, whole image",
            "ours",
            "network",
            "arXiv 2303.17569, 2404.01889",
            _OURS,
        ),
        Method(
            "diff-retinex",
            "Diff-Retinex-style, 5 DDIM steps",
            "diffusion",
            "network",
            "arXiv 2308.13164",
            _DIFF_RETINEX,
            {"samples": 5},
            sampled=5,
        ),
        Method(
            "diff-retinex-1000",
            "Diff-Retinex-style, all 1000 steps",
            "diffusion",
            "network",
            "arXiv 2308.13164",
            _DIFF_RETINEX,
            {"samples": None},
            sampled=1000,
        ),
        Method(
            "diffir",
            "DiffIR, second stage",
            "diffusion",
            "network",
            "arXiv 2303.09472",
            f"{_BASELINES}.diffir:DiffIR",
        ),
        Method(
            "restormer",
            "Restormer",
            "transformer",
            "network",
            "arXiv 2111.09881",
            f"{_BASELINES}.restormer:Restormer",
        ),
        Method(
            "retinexformer",
            "Retinexformer",
            "transformer",
            "network",
            "arXiv 2303.06705",
            f"{_BASELINES}.retinexformer:Retinexformer",
        ),
        Method(
            "enlightengan",
            "EnlightenGAN generator",
            "convolutional",
            "network",
            "arXiv 1906.06972",
            f"{_BASELINES}.attention_unet:AttentionUNet",
            signed=True,
        ),
        Method(
            "zero-dce++",
            "Zero-DCE++",
            "convolutional",
            "network",
            "arXiv 2103.00860",
            f"{_BASELINES}.zero_dce:ZeroDcePlusPlus",
        ),
        Method("gamma", "Gamma 1/2.2", "classical", "array", "scikit-image", f"{_BASELINES}.classical:gamma"),
        Method("clahe", "CLAHE", "classical", "array", "scikit-image", f"{_BASELINES}.classical:clahe"),
        Method(
            "retinex",
            "Multi-scale Retinex",
            "classical",
            "array",
            "IEEE TIP 6(7), 1997",
            f"{_BASELINES}.classical:multi_scale_retinex",
        ),
        Method(
            "lime",
            "LIME-style illumination",
            "classical",
            "array",
            "IEEE TIP 26(2), 2017",
            f"{_BASELINES}.classical:lime",
        ),
        # These lighten less than their authors propose. Their exponents do best on real backlit scenes
        # (gamma 0.6, LIME 0.5) and on the synthetic pairs (gamma 0.7, LIME 0.3).
        Method(
            "gamma-0.6",
            "Gamma 0.6",
            "classical",
            "array",
            "scikit-image",
            f"{_BASELINES}.classical:gamma",
            {"exponent": 0.6},
            quality_only=True,
        ),
        Method(
            "lime-0.5",
            "LIME-style illumination, exponent 0.5",
            "classical",
            "array",
            "IEEE TIP 26(2), 2017",
            f"{_BASELINES}.classical:lime",
            {"exponent": 0.5},
            quality_only=True,
        ),
        Method(
            "gamma-0.7",
            "Gamma 0.7",
            "classical",
            "array",
            "scikit-image",
            f"{_BASELINES}.classical:gamma",
            {"exponent": 0.7},
            quality_only=True,
        ),
        Method(
            "lime-0.3",
            "LIME-style illumination, exponent 0.3",
            "classical",
            "array",
            "IEEE TIP 26(2), 2017",
            f"{_BASELINES}.classical:lime",
            {"exponent": 0.3},
            quality_only=True,
        ),
    )
}


def find_method(name: str) -> Method:
    """Finds a method by its name.

    Raises:
        ValueError: no method has this name; the message lists all names.
    """
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown: choose among {', '.join(METHODS)}")
    return METHODS[name]
