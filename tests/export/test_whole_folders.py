"""Folders of an export appear whole, and what was there before is not lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rave_export.errors import ExportError
from rave_export.whole_folders import new_folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.json").write_text("old")
    return folder


def test_a_folder_is_replaced_and_nothing_is_left_beside_it(bundle: Path) -> None:
    with new_folder(bundle) as folder:
        (folder / "manifest.json").write_text("new")
    assert (bundle / "manifest.json").read_text() == "new"
    assert os.listdir(bundle.parent) == ["bundle"]


def test_where_the_new_folder_cannot_take_its_place_the_old_one_stays(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a file that a program has open keeps its folder from being moved."""
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ExportError, match=r"cannot be written \(Permission denied\)"), new_folder(bundle):
        pass
    assert (bundle / "manifest.json").read_text() == "old"
    assert os.listdir(bundle.parent) == ["bundle"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_new_folder_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with new_folder(tmp_path / "bundle"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o700
