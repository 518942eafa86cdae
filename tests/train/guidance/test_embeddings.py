from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rave_train.data.photographs import find_photographs
from rave_train.encoders import Encoder
from rave_train.guidance.embeddings import (
    default_cache,
    embed_photographs,
    embed_vocabulary,
    read_cache,
    write_cache,
)

CPU = torch.device("cpu")


def test_embeddings_are_cached_by_content(
    toy_clip: Encoder, scenes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, found = tmp_path / "cache", find_photographs(scenes[0], "backlit").photographs
    seen: list[tuple[str, int, int]] = []
    first = embed_photographs(toy_clip, found, cache, CPU, batch=4, report=lambda *p: seen.append(p))
    assert first.shape == (6, 16)
    assert seen == [("embedding photographs", 4, 6), ("embedding photographs", 6, 6)]
    alone = embed_photographs(toy_clip, found[2:3], tmp_path / "other", CPU)
    torch.testing.assert_close(first[2:3], alone, rtol=1e-4, atol=1e-6)

    passes: list[int] = []
    forward = toy_clip.forward

    def counted(pixels: torch.Tensor, *rest: Any) -> Any:
        passes.append(len(pixels))
        return forward(pixels, *rest)

    monkeypatch.setattr(toy_clip, "forward", counted, raising=False)
    assert torch.equal(embed_photographs(toy_clip, found, cache, CPU), first)
    assert passes == []
    shutil.copy(scenes[0] / "scene0.png", scenes[0] / "copy.png")
    shutil.copy(scenes[1] / "scene0.png", scenes[0] / "new.png")
    more = find_photographs(scenes[0], "backlit").photographs
    again = embed_photographs(toy_clip, more, cache, CPU)
    assert passes == [1]
    assert torch.equal(again[0], again[2])


def test_a_broken_cache_is_made_anew(toy_clip: Encoder, scenes: tuple[Path, Path], tmp_path: Path) -> None:
    found = find_photographs(scenes[0], "backlit").photographs
    first = embed_photographs(toy_clip, found, tmp_path, CPU)
    (file,) = tmp_path.glob("images-*.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(embed_photographs(toy_clip, found, tmp_path, CPU), first)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="only POSIX has owners and modes of this kind")
@pytest.mark.parametrize("plant", ["open to others", "a link", "another owner"])
def test_embeddings_that_others_may_have_written_are_not_taken(
    plant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "images.safetensors"
    before = os.umask(0o002)
    try:
        write_cache(file, {"a": torch.ones(2)})
    finally:
        os.umask(before)
    assert list(read_cache(file)) == ["a"]
    if plant == "open to others":
        file.chmod(0o666)
    elif plant == "a link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        monkeypatch.setattr("os.geteuid", lambda: file.stat().st_uid + 1)
    assert read_cache(file) == {}


def test_the_vocabulary_is_cached(toy_clip: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed_vocabulary(toy_clip, tmp_path)
    text = toy_clip.require_text("this test")
    monkeypatch.setattr(text, "embed_vocabulary", None)
    assert torch.equal(embed_vocabulary(toy_clip, tmp_path), first)


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAVE_CACHE_DIR", "/somewhere")
    assert default_cache() == Path("/somewhere/embeddings")
    monkeypatch.setenv("RAVE_CACHE_DIR", "")
    assert default_cache() is None


def test_without_a_cache_nothing_is_written(
    toy_clip: Encoder, scenes: tuple[Path, Path], tmp_path: Path
) -> None:
    found = find_photographs(scenes[0], "backlit").photographs
    kept = embed_photographs(toy_clip, found, tmp_path / "cache", CPU)
    before = sorted(tmp_path.rglob("*"))
    assert torch.equal(embed_photographs(toy_clip, found, None, CPU), kept)
    assert sorted(tmp_path.rglob("*")) == before
