from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from rave_train.checkpoint import save_checkpoint
from rave_train.network import EnhancementNetwork
from rave_train.whole_files import make_folder_of, torch_file, write_whole


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


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="only POSIX has modes of this kind")
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "made"),
    [(0o644, 0o755, 0o755), (0o600, 0o755, 0o700), (0o640, 0o755, 0o750), (0o644, 0o700, 0o700)],
)
def test_what_is_made_of_private_photographs_is_private(
    file_mode: int, folder_mode: int, made: int, tmp_path: Path
) -> None:
    photographs = [tmp_path / "open" / "a.png", tmp_path / "mine" / "b.png"]
    for photograph in photographs:
        photograph.parent.mkdir()
        photograph.write_bytes(b"x")
        photograph.chmod(0o644)
        photograph.parent.chmod(0o755)
    photographs[1].chmod(file_mode)
    photographs[1].parent.chmod(folder_mode)
    before = os.umask(0o022)
    try:
        make_folder_of(photographs, tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == made
