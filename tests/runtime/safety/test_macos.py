"""What macOS does otherwise, as far as another system can play it."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from rave_runtime.errors import UsageError
from rave_runtime.files.places import identity_of, is_inside, is_same
from rave_runtime.run.inputs import companions_of, find_photographs
from rave_runtime.run.jobs import Naming, plan_jobs
from tests.runtime.folders.places import touch


@pytest.fixture
def one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder under two names of which no path tells that they are one, as on a disk that ignores case."""
    folder = touch(tmp_path / "photos", "a.jpg")
    try:
        (tmp_path / "Photos").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("needs symbolic links")
    monkeypatch.setattr(os.path, "realpath", os.path.abspath)
    return folder, tmp_path / "Photos"


def test_a_folder_in_other_letters_is_the_same_folder(one_folder: tuple[Path, Path]) -> None:
    folder, other = one_folder
    assert is_same(folder, other)
    assert is_inside(other / "new" / "results", folder)
    assert not is_inside(other, folder)
    assert not is_same(folder, folder.parent / "missing")
    with pytest.raises(UsageError, match="its results would be read as photographs next time"):
        plan_jobs(folder, other / "results")
    touch(folder, "a_bright.jpg")
    assert [job.name for job in plan_jobs(folder, other, naming=Naming(suffix="_bright"))] == ["a.jpg"]


def test_a_drive_that_numbers_no_files_hides_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network drives of Windows give all files the number 0: every folder seemed to be the first one."""
    folder = touch(tmp_path / "in", "a.jpg", "b/c.jpg", "b/d/e.jpg")
    real = os.stat

    def without_number(path: Path) -> object:
        status = real(path)
        return SimpleNamespace(st_dev=status.st_dev, st_ino=0, st_mode=status.st_mode)

    with monkeypatch.context() as patch:
        patch.setattr("rave_runtime.files.places.os.stat", without_number)
        assert identity_of(folder) != identity_of(folder / "b")
        assert identity_of(folder) == identity_of(folder / "b" / "..")
        found = sorted(file.name for file in find_photographs(folder, tmp_path / "out"))
    assert found == ["a.jpg", os.path.join("b", "c.jpg"), os.path.join("b", "d", "e.jpg")]


def test_companions_are_found_whatever_letters_the_user_writes(tmp_path: Path) -> None:
    """The disk opens IMG_1.JPG as img_1.jpg, and a name in either form of its accents."""
    decomposed = unicodedata.normalize("NFD", "\u00e9t\u00e9.jpg")
    names = ("IMG_1.JPG", "IMG_1.xmp", decomposed, f"{decomposed}.xmp", "b.jpg", "B.JPG", "b.xmp")
    folder = touch(tmp_path, *names)
    assert companions_of(folder / "img_1.jpg") == ("IMG_1.xmp",)
    assert companions_of(folder / "\u00e9t\u00e9.jpg") == (decomposed + ".xmp",)
    assert companions_of(folder / "b.jpg") == companions_of(folder / "B.JPG") == ("b.xmp",)
    assert companions_of(folder / "missing.jpg") == ()


def test_the_limit_of_open_files_is_raised_where_the_kernel_gives_less_than_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stayed at 256: the system names no limit, and refuses what is above its kernel's."""
    pytest.importorskip("uvicorn")
    from rave_runtime.serve.server import _raise_file_limit

    limits = []

    def set_limit(_: int, limit: tuple[int, int]) -> None:
        if limit[0] > 61440:
            raise ValueError("current limit exceeds maximum limit")
        limits.append(limit)

    unlimited = 2**63 - 1
    fake = SimpleNamespace(
        RLIMIT_NOFILE=8, RLIM_INFINITY=unlimited, getrlimit=lambda _: (256, unlimited), setrlimit=set_limit
    )
    monkeypatch.setitem(sys.modules, "resource", fake)
    _raise_file_limit()
    assert limits == [(10240, unlimited)]
