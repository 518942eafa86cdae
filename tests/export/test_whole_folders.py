"""Folders that appear whole or not at all, and what was there before."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from rave_export.bundles import BUNDLE
from rave_export.errors import ExportError, InputError
from rave_export.triton import REPOSITORY
from rave_export.web.page import PAGE
from rave_export.whole_folders import Kind, check_replaceable, new_folder, require_makeable
from rave_runtime.bundle import Bundle

KIND = Kind("a bundle", "mark", "old")


def replace(target: Path) -> None:
    replace_while(target, lambda: None)


def replace_while(target: Path, do: Callable[[], object]) -> None:
    """Makes a folder, and something else before it is ready."""
    with new_folder(target) as folder:
        (folder / "mark").write_text("new")
        do()


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
        check_replaceable(Path(), force=True, kind=KIND)


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
        check_replaceable(old, force=True, kind=KIND)


@pytest.mark.parametrize("kind", [BUNDLE, REPOSITORY, PAGE], ids=lambda kind: kind.title)
def test_a_folder_of_others_with_a_file_of_that_name_is_kept(tmp_path: Path, kind: Kind) -> None:
    """Every project has a README.md, and every web app a manifest.json: --force removed the folder."""
    (tmp_path / kind.mark).write_text('{"name": "My thesis", "icons": []}')
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=f"is not {kind.title}, so --force does not replace it"):
        check_replaceable(tmp_path, force=True, kind=kind)


def test_a_damaged_bundle_may_be_replaced(bundle: Bundle) -> None:
    file = bundle.folder / BUNDLE.mark
    file.write_bytes(file.read_bytes()[:400])
    check_replaceable(bundle.folder, force=True, kind=BUNDLE)


def test_a_folder_that_comes_during_the_work_is_kept(tmp_path: Path) -> None:
    """Of two exports into one folder the second replaced what the first had made, without --force."""
    target = tmp_path / "new"

    def come() -> None:
        target.mkdir()
        (target / "mark").write_text("first")

    with pytest.raises(ExportError, match="was made by another program in the meantime: choose another"):
        replace_while(target, come)
    assert (target / "mark").read_text() == "first"
    assert os.listdir(tmp_path) == ["new"]


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


def test_a_place_where_nothing_can_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    require_makeable(tmp_path / "not" / "yet" / "there")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="file/deep/new cannot be made: Not a directory"):
        require_makeable(tmp_path / "file" / "deep" / "new")
