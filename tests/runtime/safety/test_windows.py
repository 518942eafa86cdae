"""What Windows does otherwise, as far as another system can play it."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import time
import warnings
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest

from rave_runtime.backends.limits import machine_memory_mib
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.cli import messages, program
from rave_runtime.errors import DeviceError, PhotoError, UsageError
from rave_runtime.files import atomic, location, partials, windows
from rave_runtime.files.atomic import require_writable, write_atomically
from rave_runtime.files.entries import read_entries
from rave_runtime.files.folding import folds_names
from rave_runtime.files.location import RemoteFile, name_inside
from rave_runtime.run.inputs import Selection
from rave_runtime.run.jobs import plan_jobs
from rave_runtime.run.journal import JOURNAL_NAME, FolderJournal
from rave_runtime.run.options import RunOptions


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_IS_HERE", True)


def held_for(count: int, act: Any) -> Any:
    """What acts as if another program held the file for the first calls."""
    calls = []

    def acting(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) <= count:
            raise PermissionError(errno.EACCES, "Access is denied")
        return act(*arguments, **named)

    return acting


@pytest.mark.usefixtures("on_windows")
def test_a_virus_scanner_that_looks_at_a_new_file_spoils_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", held_for(2, os.replace))
    write_atomically(tmp_path / "a.jpg", b"all of it")
    assert os.listdir(tmp_path) == ["a.jpg"]
    monkeypatch.setattr(os, "unlink", held_for(2, os.unlink))
    require_writable(tmp_path)
    assert os.listdir(tmp_path) == ["a.jpg"]


@pytest.mark.usefixtures("on_windows")
def test_a_result_that_stays_open_in_a_viewer_is_told_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_HELD_S", 0.1)
    monkeypatch.setattr(os, "replace", held_for(10**6, os.replace))
    with pytest.raises(PhotoError, match=r"cannot be written to .*a\.jpg: Access is denied"):
        write_atomically(tmp_path / "a.jpg", b"x")
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("on_windows")
def test_a_scanner_leaves_no_trial_file_in_a_folder_and_no_warning_of_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "unlink", held_for(2, os.unlink))
    folds_names(tmp_path)
    assert os.listdir(tmp_path) == []
    journal = FolderJournal(tmp_path)
    journal.claim_all(["a.jpg"])
    journal.add("a.jpg", "key", 5)
    monkeypatch.setattr(os, "unlink", held_for(2, os.unlink))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal.close()
    assert os.listdir(tmp_path) == [JOURNAL_NAME]


def test_elsewhere_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", held_for(10**6, os.replace))
    started = time.monotonic()
    with pytest.raises(PhotoError, match="Access is denied"):
        write_atomically(tmp_path / "a.jpg", b"x")
    assert time.monotonic() - started < 1


def test_times_that_are_set_by_name_are_set_when_the_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows closes a file that was written, it sets the time of its last change once more."""
    written: list[int] = []
    real_create, real_utime, real_close = atomic._create, os.utime, os.close

    def create(file: Path) -> int:
        written.append(real_create(file))
        return written[-1]

    def close(descriptor: int) -> None:
        if descriptor in written:
            real_utime(descriptor)
        real_close(descriptor)

    monkeypatch.setattr(atomic, "_TIMES_BY_DESCRIPTOR", False)
    monkeypatch.setattr(atomic, "_create", create)
    monkeypatch.setattr(os, "close", close)
    (tmp_path / "a.xmp").write_bytes(b"x")
    real_utime(tmp_path / "a.xmp", ns=(10**18, 10**18))
    write_atomically(tmp_path / "b.xmp", b"y", attributes_of=tmp_path / "a.xmp")
    assert (tmp_path / "b.xmp").stat().st_mtime_ns == 10**18


@pytest.mark.usefixtures("on_windows")
@pytest.mark.parametrize(
    "name", ["aux.jpg", "NUL.png", "day/com1 .jpg", "day. /a.jpg", "a.jpg:b.jpg", "a\\b.jpg"]
)
def test_a_name_that_windows_takes_for_another_place_is_refused(name: str, tmp_path: Path) -> None:
    """A result named nul.png was written into nothing, without an error."""
    fsspec = pytest.importorskip("fsspec")
    store = RemoteFile("memory://windows/in")
    try:
        for each in ("good.jpg", "auxiliary.jpg", "com10/a.day.jpg"):
            (store / each).write(b"x")
        assert len(plan_jobs(store, tmp_path / "out")) == 3
        (store / name).write(b"x")
        with pytest.raises(UsageError, match="cannot be a file's name on this machine: rename it"):
            plan_jobs(store, tmp_path / "out")
        if "/" not in name:
            with pytest.raises(UsageError, match="cannot be a file's name on this machine: rename it"):
                plan_jobs([store / "good.jpg", store / name], tmp_path / "out")
        assert len(plan_jobs(store, RemoteFile("memory://windows/out"))) == 4
    finally:
        fsspec.filesystem("memory").rm("/windows", recursive=True)


@pytest.mark.usefixtures("on_windows")
@pytest.mark.parametrize("name", ["C:", "aux", "day."])
def test_a_store_whose_own_name_means_another_place_is_refused(name: str, tmp_path: Path) -> None:
    """Of several inputs each gets a folder of its name: that of a drive would be its current folder."""
    fsspec = pytest.importorskip("fsspec")
    stores = [RemoteFile(f"memory://windows/{each}") for each in ("good", name)]
    try:
        for store in stores:
            (store / "a.jpg").write(b"x")
        with pytest.raises(UsageError, match=f"{name} cannot be a file's name on this machine: rename it"):
            plan_jobs(stores, tmp_path / "out")
        assert len(plan_jobs(stores[1], tmp_path / "out")) == 1
    finally:
        fsspec.filesystem("memory").rm("/windows", recursive=True)


@pytest.mark.usefixtures("on_windows")
def test_a_suffix_that_would_write_into_a_stream_of_another_file_is_refused() -> None:
    with pytest.raises(UsageError, match="--suffix :bright cannot be part of a file's name: leave out c"):
        RunOptions(suffix=":bright").check("folder")
    RunOptions(suffix="_bright. ").check("folder")


@pytest.mark.usefixtures("on_windows")
def test_a_path_that_is_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was "No such file or directory" alone."""

    def refuse(*_: Any) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(atomic, "_create", refuse)
    long = tmp_path / ("d" * 130) / ("e" * 130) / "a.jpg"
    with pytest.raises(PhotoError, match="its path has more than 259 letters, so choose an OUTPUT with"):
        write_atomically(long, b"x")
    with pytest.raises(PhotoError, match=r"No such file or directory$"):
        write_atomically(tmp_path / "a.jpg", b"x")


@pytest.mark.usefixtures("on_windows")
def test_temporary_files_of_killed_runs_go_however_long_their_paths_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names were made in the form for any length and removed in the other one, so the files stayed."""
    folder = tmp_path / ("d" * 130) / ("e" * 130)
    folder.mkdir(parents=True)
    left = folder / partials.partial_name()
    left.touch()
    os.utime(left, (1e9, 1e9))
    monkeypatch.setattr(partials, "_CAN_ASK", False)
    monkeypatch.setattr(windows, "_EXTENDED", str(tmp_path / "any length:"))
    removed: list[str] = []
    monkeypatch.setattr(os, "unlink", lambda path, **_: removed.append(str(path)))
    partials.remove_abandoned(tmp_path)
    assert removed == [f"{tmp_path / 'any length:'}{left}"]


def test_temporary_names_do_not_make_a_path_too_long() -> None:
    assert windows.extended(r"C:\photos\a.jpg") == r"\\?\C:\photos\a.jpg"
    assert windows.extended(r"\\nas\photos\a.jpg") == r"\\?\UNC\nas\photos\a.jpg"
    assert windows.extended(r"\\?\C:\photos\a.jpg") == r"\\?\C:\photos\a.jpg"


def test_a_journal_names_results_alike_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of a network drive that was begun on Windows was unknown to macOS, and the other way round."""
    monkeypatch.setattr(location, "Path", PureWindowsPath)
    folder: Any = PureWindowsPath(r"Z:\enhanced")
    assert name_inside(folder, folder / "day 2" / "a.jpg") == "day 2/a.jpg"


def test_a_journal_that_another_run_has_open_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a run with --watch, each run into its folder warned that its results would not be known."""
    first, second = FolderJournal(tmp_path), FolderJournal(tmp_path)
    first.add("a.jpg", "key", 5)
    second.add("b.jpg", "key", 6)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", held_for(10**6, os.replace))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first.close()
            FolderJournal(tmp_path).close()
    names = [entry.name for entry in read_entries(tmp_path / JOURNAL_NAME)]
    assert names == ["a.jpg", "b.jpg"]
    second.close()
    third = FolderJournal(tmp_path)
    monkeypatch.setattr(third, "_append", lambda entry: None)
    third.add("c.jpg", "key", 7)
    monkeypatch.setattr(os, "replace", held_for(10**6, os.replace))
    with pytest.warns(UserWarning, match="cannot be written .* --skip-existing will do these"):
        third.close()


def test_patterns_are_written_as_paths_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.run.inputs.os.sep", "\\")
    assert not Selection(exclude=("day2\\rejected*",)).takes("day2\\rejected1.jpg")
    assert not Selection(exclude=("day2\\",)).takes("day2\\a.jpg")
    assert Selection(exclude=("day2\\rejected*",)).takes("day2\\a.jpg")


def test_a_reader_that_has_gone_is_known_by_windows_word_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = OSError(errno.EINVAL, "Invalid argument")
    assert not messages.has_reader_gone(gone)
    monkeypatch.setattr(messages, "_READER_GONE", (errno.EPIPE, errno.EINVAL))

    def refuse(*_: Any, **__: Any) -> None:
        raise gone

    monkeypatch.setattr(program, "_enhance_stream", refuse)
    assert program._run(["-", "-"]) == 1
    assert "standard output was closed by its reader" in capsys.readouterr().err
    with open(os.devnull, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setattr("builtins.print", refuse)
        messages.put("enhanced")
        assert not messages.has_reader_gone(OSError(errno.EINVAL, "Invalid argument", "a.jpg"))


@pytest.mark.parametrize(("is_told", "expected"), [(1, 32 << 10), (0, None)])
def test_windows_tells_how_much_memory_there_is(
    is_told: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs that need more than 2 GiB, such as 16-bit TIFFs of 45 megapixels, were refused there."""

    def tell(status: Any) -> int:
        assert status._obj.length == 64
        status._obj.total = 32 << 30
        return is_told

    library = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=tell))
    monkeypatch.setattr(ctypes, "windll", library, raising=False)
    assert machine_memory_mib() == expected


def test_a_library_that_windows_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was "The specified module could not be found" alone, of which nobody knows which one is meant."""
    (tmp_path / "onnxruntime.py").write_text(
        "raise ImportError('DLL load failed while importing x: not found.')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(
        DeviceError, match=r"not found\. Windows lacks a library .* Redistributable, from https://"
    ):
        import_onnxruntime()
