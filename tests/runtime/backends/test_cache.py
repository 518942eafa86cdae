from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from rave_runtime.backends.compiled_cache import keep, recall
from rave_runtime.files.cache_folder import cache_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "not yet there" / "cache"
    monkeypatch.setenv("RAVE_CACHE_DIR", str(place))
    return place / "graphs"


def test_what_is_kept_comes_back(folder: Path) -> None:
    assert recall("a") is None
    keep("a", b"one")
    keep("b", b"")
    keep("a", b"two")
    assert (recall("a"), recall("b"), recall("c")) == (b"two", b"", None)
    assert len(list(folder.iterdir())) == 2, "no partial file is left"
    if sys.platform != "win32":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "nobody else may plant graphs here"


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c[:10], lambda _: b"", lambda c: c[:-1] + b"!"]
)
def test_a_damaged_entry_is_none(folder: Path, damage: object) -> None:
    keep("a", b"compiled")
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert recall("a") is None
    keep("a", b"compiled")
    assert recall("a") == b"compiled"


def test_the_least_used_entries_go(folder: Path) -> None:
    for i in range(70):
        keep(str(i), b"x")
        assert recall("0") == b"x"
    assert len(list(folder.iterdir())) == 64
    assert recall("69") == b"x"
    assert recall("1") is None


def test_other_files_of_the_folder_stay(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i in range(80):
        (folder / f"diary{i}.txt").write_text("mine")
    for i in range(70):
        keep(str(i), b"x")
    assert len(list(folder.glob("diary*"))) == 80
    (folder / "below").mkdir()
    taken = min(folder.glob("*.rave-compiled"))
    taken.unlink()
    taken.mkdir()
    for i in range(70):
        keep(str(i), b"x")
    assert not list(folder.glob(".*partial"))


def test_a_folder_that_cannot_be_made_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "file" / "below"))
    keep("a", b"x")
    assert recall("a") is None


def test_nothing_is_kept_where_nobody_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAVE_CACHE_DIR", "")
    keep("a", b"x")
    assert recall("a") is None
    assert cache_folder() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="other systems have other places")
def test_where_it_is_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/she")
    monkeypatch.setenv("RAVE_CACHE_DIR", "~/kept")
    assert cache_folder() == Path("/home/she/kept/graphs")
    monkeypatch.delenv("RAVE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/rave-backlit/graphs")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/she/.cache/rave-backlit/graphs")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="only POSIX has owners and modes of this kind")
@pytest.mark.parametrize("plant", ["open to others", "another owner", "a link", "a pipe"])
def test_what_others_may_have_written_is_not_taken(
    plant: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("a", b"compiled")
    (file,) = folder.iterdir()
    if plant == "open to others":
        file.chmod(0o666)
    elif plant == "another owner":
        monkeypatch.setattr("os.geteuid", lambda: file.stat().st_uid + 1)
    elif plant == "a link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
        os.mkfifo(file)
    assert recall("a") is None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="only POSIX has modes of this kind")
@pytest.mark.parametrize("umask", [0o002, 0o000, 0o077])
def test_what_is_kept_comes_back_whatever_the_umask(umask: int, folder: Path) -> None:
    """Many systems let a user's group write what the user makes."""
    before = os.umask(umask)
    try:
        keep("a", b"compiled")
    finally:
        os.umask(before)
    assert recall("a") == b"compiled"
