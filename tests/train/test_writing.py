from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rave_train.writing import write_whole


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def fill(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("unexpected pos 64 vs 32\nmore")

    with pytest.raises(OSError, match=r"cannot be written: unexpected pos 64 vs 32; is the disk full\?$"):
        write_whole(file, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"
    with pytest.raises(OSError, match=r"cannot be written: No such file or directory$"):
        write_whole(tmp_path / "absent" / "file", lambda path: path.touch())


def test_safetensors_are_as_readable_as_any_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_whole(tmp_path / "file", lambda path: save_file({"a": torch.zeros(2)}, path))
    assert (tmp_path / "file").stat().st_mode == plain.stat().st_mode
