from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from rave_train.checkpoint import save_checkpoint
from rave_train.network import EnhancementNetwork
from rave_train.writing import torch_file, write_whole


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def fill_the_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fill_the_disk)
        with pytest.raises(
            OSError, match=r"file cannot be written: No space left on device; is the disk full\?$"
        ):
            write_whole(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"
    with pytest.raises(OSError, match=r"cannot be written: (File exists|Not a directory)$"):
        write_whole(file / "inside", b"new")


def test_text_is_utf8_wherever_it_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "deep" / "text", "silhouette für Paul \udcff\n")
    assert (tmp_path / "deep" / "text").read_bytes() == "silhouette für Paul \\udcff\n".encode()


def test_checkpoints_are_as_readable_as_any_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    for name in ("net.safetensors", "net.pth"):
        save_checkpoint(EnhancementNetwork(4), tmp_path / name)
        assert (tmp_path / name).stat().st_mode == plain.stat().st_mode
    write_whole(tmp_path / "state.pt", torch_file({"a": torch.zeros(2)}))
    assert torch.equal(torch.load(tmp_path / "state.pt", weights_only=True)["a"], torch.zeros(2))
