"""Embeddings of photographs, in batches, cached by what the files hold."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rave_runtime.files.cache_folder import cache_folder
from rave_runtime.files.regular import read_own
from rave_train.data.batches import to_tensor
from rave_train.data.photographs import Photograph, load_photograph
from rave_train.encoders import Encoder
from rave_train.progress import Report
from rave_train.writing import write_whole

_KEPT_EVERY_BATCHES: Final = 64
"""Batches after which embeddings are written, so that a killed run need not embed a large set again."""


def default_cache() -> Path | None:
    """Where embeddings are kept between runs: beside the runtime's compiled graphs; None keeps none."""
    return cache_folder("embeddings")


@torch.no_grad()
def embed_photographs(
    encoder: Encoder,
    photographs: Sequence[Photograph],
    cache: Path | None,
    device: torch.device,
    batch: int = 32,
    report: Report | None = None,
) -> Tensor:
    """Image embeddings with the encoder's own preprocessing (resize, centre crop).

    Args:
        encoder: already on `device`.
        photographs: what to embed.
        cache: folder of embeddings; those of the same encoder and file content are read from it, new
            ones added. None keeps none.
        device: where to compute.
        batch: pictures per pass.
        report: told of the progress.

    Returns:
        [n, d] float32 on the CPU, not normalised.
    """
    file = _cache_file(cache, f"images-{encoder.fingerprint()}")
    known = read_cache(file)
    missing = [p for p in {p.content_hash: p for p in photographs}.values() if p.content_hash not in known]
    for first in range(0, len(missing), batch):
        part = missing[first : first + batch]
        pixels = torch.cat([_framed(encoder, photograph.file) for photograph in part]).to(device)
        found, _ = encoder(pixels.contiguous(memory_format=torch.channels_last), True, False)
        assert found is not None
        known.update(zip((p.content_hash for p in part), found.cpu(), strict=True))
        if report is not None:
            report("embedding photographs", first + len(part), len(missing))
        if (first // batch + 1) % _KEPT_EVERY_BATCHES == 0 or first + batch >= len(missing):
            write_cache(file, known)
    return torch.stack([known[photograph.content_hash] for photograph in photographs])


def embed_vocabulary(encoder: Encoder, cache: Path | None, report: Report | None = None) -> Tensor:
    """Text embeddings of the whole vocabulary, [tokens, d] float32 on the CPU, not normalised.

    Raises:
        EncoderError: the encoder has no text encoder.
    """
    text = encoder.require_text("embedding a vocabulary")
    file = _cache_file(cache, f"vocabulary-{encoder.fingerprint()}")
    known = read_cache(file)
    if "tokens" not in known:
        done = None if report is None else lambda n, of: report("embedding the vocabulary", n, of)
        known = {"tokens": text.embed_vocabulary(report=done)}
        write_cache(file, known)
    return known["tokens"]


def read_cache(file: Path | None) -> dict[str, Tensor]:
    """Tensors of a cache file; none where it is missing, broken, or may be another user's work.

    It is then made anew.
    """
    content = None if file is None else read_own(file)
    try:
        return {} if content is None else load(content)
    except SafetensorError:
        return {}


def write_cache(file: Path | None, tensors: dict[str, Tensor]) -> None:
    """Writes a cache file whole or not at all; several processes may do so at once."""
    if file is None:
        return
    content = {name: value.contiguous().clone() for name, value in tensors.items()}
    write_whole(file, save(content))
    with contextlib.suppress(OSError):  # under some umasks a group might write it, and `read_own` refuse
        file.chmod(0o600)


def _cache_file(cache: Path | None, name: str) -> Path | None:
    """A file of the cache, whose folder is made now: before hours of embedding."""
    if cache is None:
        return None
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the cache {cache} cannot be made ({error.strerror}): give another --cache") from error
    return cache / f"{name}.safetensors"


def _framed(encoder: Encoder, file: Path) -> Tensor:
    return encoder.preprocessing.frame(to_tensor(load_photograph(file))[None])
