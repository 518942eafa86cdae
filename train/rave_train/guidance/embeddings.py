"""Embeddings of photographs, computed in batches and cached by the hash of each file's content."""

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
from rave_train.whole_files import write_whole

_WRITE_EVERY_BATCHES: Final = 64
"""Batches after which embeddings are written, so that a killed run need not embed a large set again."""

_IMAGES: Final = "images-in-srgb"
"""First part of the name of a cache file. Older ones, "images", took every colour space for sRGB."""


def default_cache() -> Path | None:
    """The folder of embeddings in the user's cache; None where the user has turned the cache off."""
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
        cache: folder of embeddings; those of the same encoder and file content are read from it, and new
            ones are added to it. None computes all and writes none.
        device: where to compute.
        batch: pictures per pass.
        report: told of the progress.

    Returns:
        [n, d] float32 on the CPU, not normalised.
    """
    file = _cache_file(cache, f"{_IMAGES}-{encoder.fingerprint()}")
    embeddings = read_cache(file)
    by_hash = {photograph.content_hash: photograph for photograph in photographs}
    missing = [photograph for key, photograph in by_hash.items() if key not in embeddings]
    for first in range(0, len(missing), batch):
        part = missing[first : first + batch]
        pixels = torch.cat([_framed(encoder, photograph.file) for photograph in part]).to(device)
        batch_embeddings, _ = encoder(pixels.contiguous(memory_format=torch.channels_last), True, False)
        assert batch_embeddings is not None
        embeddings.update(zip((p.content_hash for p in part), batch_embeddings.cpu(), strict=True))
        if report is not None:
            report("embedding photographs", first + len(part), len(missing))
        if (first // batch + 1) % _WRITE_EVERY_BATCHES == 0 or first + batch >= len(missing):
            write_cache(file, embeddings)
    return torch.stack([embeddings[photograph.content_hash] for photograph in photographs])


def embed_vocabulary(encoder: Encoder, cache: Path | None, report: Report | None = None) -> Tensor:
    """Text embeddings of the whole vocabulary, [tokens, d] float32 on the CPU, not normalised.

    Args:
        encoder: the encoder whose text side embeds.
        cache: folder in which they are kept, as in `embed_photographs`.
        report: told of the progress.

    Raises:
        EncoderError: the encoder has no text encoder.
    """
    text = encoder.require_text("embedding a vocabulary")
    file = _cache_file(cache, f"vocabulary-{encoder.fingerprint(with_text=True)}")
    tensors = read_cache(file)
    if "tokens" not in tensors:
        progress = None if report is None else lambda n, of: report("embedding the vocabulary", n, of)
        tensors = {"tokens": text.embed_vocabulary(report=progress)}
        write_cache(file, tensors)
    return tensors["tokens"]


def read_cache(file: Path | None) -> dict[str, Tensor]:
    """Tensors of a cache file by name; none where it is missing, broken, or may be another user's work.

    The caller then computes and writes them anew.
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
    with contextlib.suppress(OSError):  # some umasks let a group write to it, which `read_own` refuses
        file.chmod(0o600)


def _cache_file(cache: Path | None, name: str) -> Path | None:
    """A file of the cache. Its folder is made here, so that an error comes before hours of embedding."""
    if cache is None:
        return None
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the cache {cache} cannot be made ({error.strerror}): give another --cache") from error
    return cache / f"{name}.safetensors"


def _framed(encoder: Encoder, file: Path) -> Tensor:
    return encoder.preprocessing.frame(to_tensor(load_photograph(file))[None])
