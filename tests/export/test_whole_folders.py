"""Folders that appear whole or not at all, and what was there before."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from rave_export.errors import ExportError, InputError
from rave_export.whole_folders import check_replaceable, new_folder


def replace(target: Path) -> None:
    with new_folder(target) as folder:
        (folder / "mark").write_text("new")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "mark").write_text("old")
    return folder


def test_the_new_folder_takes_the_place_of_the_old_one_and_nothing_else_stays(old: Path) -> None:
    replace(old)
    assert (old / "mark").read_text() == "new"
    assert os.listdir(old.parent) == ["old"]


def test_the_current_folder_is_refused_before_the_work(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old)
    with pytest.raises(InputError, match="is the current folder, which cannot be replaced"):
        check_replaceable(Path(), force=True, mark="mark", kind="a bundle")


@pytest.mark.parametrize("refused", ["old", ".partial"])
def test_an_old_folder_stays_where_the_new_one_cannot_take_its_place(
    old: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    rename = Path.rename

    def busy(path: Path, target: Path) -> Path:
        if path.name.endswith(refused):
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(ExportError, match=r"old cannot be written \(Device or resource busy\)"):
        replace(old)
    assert (old / "mark").read_text() == "old"
    assert os.listdir(old.parent) == ["old"]


def test_a_mounted_volume_is_refused_before_the_work(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == old)
    with pytest.raises(InputError, match="so it cannot be replaced: name a folder in it"):
        check_replaceable(old, force=True, mark="mark", kind="a bundle")


def test_a_place_where_no_folder_can_be_made_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/new cannot be made"):
        replace(tmp_path / "file" / "new")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_new_folder_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with new_folder(tmp_path / "new"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
