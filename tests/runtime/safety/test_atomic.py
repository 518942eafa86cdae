"""Writing files: no link, pipe or permission gets in the way, and nobody else's file is removed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rave_runtime.errors import PhotoError
from rave_runtime.files import atomic, partials, permissions
from rave_runtime.files.atomic import make_folder, require_writable, write_atomically
from rave_runtime.files.partials import remove_abandoned, remove_own_partials, this_machine
from rave_runtime.files.regular import open_regular, read_regular, walk

posix = pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_that_cannot_be_told_to_write_at_once_takes_the_result(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(tmp_path / "a.jpg", b"all of it")
    assert (tmp_path / "a.jpg").read_bytes() == b"all of it"
    assert os.listdir(tmp_path) == ["a.jpg"]


@pytest.fixture
def stopped_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary file of a process that was stopped just before it renamed it."""
    names: list[Path] = []

    def stop(self: Path, _target: Path) -> None:
        names.append(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "a.jpg", b"half")
    return names[0]


@posix
def test_temporary_names_cannot_be_foreseen_and_follow_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    create = atomic._create

    def planted(file: Path) -> int:
        names.add(file.name)
        if len(names) == 3:
            file.symlink_to(tmp_path / "victim")
        return create(file)

    monkeypatch.setattr(atomic, "_create", planted)
    (tmp_path / "victim").write_bytes(b"precious")
    for _ in range(2):
        write_atomically(tmp_path / "a.jpg", b"x")
    assert len(names) == 2
    with pytest.raises(PhotoError, match="File exists"):
        write_atomically(tmp_path / "a.jpg", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"


@posix
def test_a_temporary_file_is_its_users_alone(stopped_partial: Path, tmp_path: Path) -> None:
    modes: list[int] = []

    class Watching(bytes):
        """Bytes that look at the temporary file while they are written."""

    write = atomic.write_all

    def look(descriptor: int, content: bytes) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        write(descriptor, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "write_all", look)
        write_atomically(tmp_path / "b.jpg", b"x")
    assert modes == [0o600]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "b.jpg").stat().st_mode) == 0o666 & ~umask


def test_threads_that_ask_for_the_umask_at_once_leave_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, which has no /proc: there one can only ask by setting another mask for a moment."""
    mask = 0o022

    def umask(new_mask: int) -> int:
        nonlocal mask
        old_mask, mask = mask, new_mask
        time.sleep(0.005)
        return old_mask

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "umask", umask)
    monkeypatch.setattr(permissions, "open", refuse, raising=False)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: permissions.umask(), range(8)))
    assert (set(answers), mask) == ({0o022}, 0o022)


def aged(file: Path, seconds: float) -> Path:
    file.write_bytes(b"x")
    os.utime(file, (time.time() - seconds,) * 2)
    return file


@posix
def test_live_files_of_containers_with_equal_host_names_stay(
    stopped_partial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = this_machine()
    this_machine.cache_clear()
    monkeypatch.setattr(partials, "_process_space", lambda: "pid:[another container]")
    other = this_machine()
    this_machine.cache_clear()
    assert ours != other
    monkeypatch.undo()
    dead = "999999999"
    live_elsewhere = aged(tmp_path / f".{'0' * 32}.{other}-{dead}.rave-partial", 60)
    left_elsewhere = aged(tmp_path / f".{'1' * 32}.{other}-{dead}.rave-partial", 3 * 24 * 3600)
    left_here = aged(tmp_path / f".{'2' * 32}.{ours}-{dead}.rave-partial", 0)
    remove_abandoned(tmp_path)
    assert live_elsewhere.exists()
    assert not left_elsewhere.exists()
    assert not left_here.exists()


def test_where_nobody_can_ask_for_processes_old_temporary_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partials, "_CAN_ASK", False)
    new = aged(tmp_path / f".{'0' * 32}.{this_machine()}-999999999.rave-partial", 60)
    old = aged(tmp_path / f".{'1' * 32}.{this_machine()}-999999999.rave-partial", 3 * 24 * 3600)
    remove_abandoned(tmp_path)
    assert (new.exists(), old.exists()) == (True, False)


def test_ending_at_once_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def end(descriptor: int, content: bytes) -> None:
        seen.extend(os.listdir(tmp_path))
        remove_own_partials()
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "write_all", end)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.jpg", b"x")
    assert len(seen) == 1
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_private_folders_stay_private(umask: int, tmp_path: Path) -> None:
    source = tmp_path / "in" / "deep" / "a.jpg"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"x")
    source.parent.chmod(0o700)
    (tmp_path / "in").chmod(0o750)
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "new" / "out" / "deep" / "a.jpg", b"x", like=source)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new/out/deep", "new/out", "new")]
    assert modes == [0o700, 0o750 & ~umask, 0o777 & ~umask]


@posix
def test_a_result_of_several_is_as_private_as_the_most_private(tmp_path: Path) -> None:
    for name, mode in {"open.jpg": 0o644, "group.jpg": 0o640, "own.jpg": 0o600}.items():
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(mode)
    write_atomically(tmp_path / "page.html", b"x", like=[tmp_path / "open.jpg", tmp_path / "own.jpg"])
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600


@posix
def test_a_pipe_that_nobody_reads_is_an_error_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_READER_S", 0.2)
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(PhotoError, match="it is a pipe that no program reads"):
        write_atomically(tmp_path / "a.jpg", b"x")


@posix
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    os.link(tmp_path / "file", tmp_path / "other name")
    assert read_regular(tmp_path / "link") == b"content"
    for name, flags, follow in (
        ("pipe", os.O_RDONLY, True),
        ("pipe", os.O_WRONLY | os.O_APPEND, True),
        (".", os.O_RDONLY, True),
        ("link", os.O_RDONLY, False),
        ("file", os.O_WRONLY | os.O_APPEND, False),  # it has a second name, which may be another user's trap
    ):
        with (
            pytest.raises(OSError, match=r"regular file|No such device|symbolic links|hard links"),
            open_regular(tmp_path / name, flags, follow=follow),
        ):
            raise AssertionError(f"{name} was opened")


def test_a_copy_keeps_times_and_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_bytes(b"x")
    os.utime(tmp_path / "a.xmp", ns=(10**18, 10**18))
    write_atomically(tmp_path / "out" / "b.xmp", b"edits" * 500_000, attributes_of=tmp_path / "a.xmp")
    assert (tmp_path / "out" / "b.xmp").read_bytes() == b"edits" * 500_000
    assert (tmp_path / "out" / "b.xmp").stat().st_mtime_ns == 10**18
    assert os.listdir(tmp_path / "out") == ["b.xmp"]


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_attributes_are_kept_but_for_those_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    try:
        os.setxattr(tmp_path / "a.jpg", "user.xdg.tags", b"holiday")
    except OSError:
        pytest.skip("this file system keeps no extended attributes")
    os.setxattr(tmp_path / "a.jpg", "user.shatag.sha256", b"0123")
    os.utime(tmp_path / "a.jpg", ns=(10**18, 10**18 + 5))
    write_atomically(tmp_path / "b.jpg", b"y", attributes_of=tmp_path / "a.jpg")
    assert os.listxattr(tmp_path / "b.jpg") == ["user.xdg.tags"]
    assert os.getxattr(tmp_path / "b.jpg", "user.xdg.tags") == b"holiday"
    assert (tmp_path / "b.jpg").stat().st_mtime_ns == 10**18 + 5
    write_atomically(tmp_path / "c.jpg", b"y", attributes_of=tmp_path / "gone.jpg")
    assert (tmp_path / "c.jpg").exists()


def test_a_thousand_folders_inside_each_other(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 1000)
    make_folder(deep)
    (deep / f".{'2' * 32}.{this_machine()}-999999999.rave-partial").write_bytes(b"x")
    assert sum(1 for _ in walk(tmp_path)) == 1001
    remove_abandoned(tmp_path)
    assert list(deep.iterdir()) == []
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=False)


@posix
def test_looking_whether_a_folder_can_be_written_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / f".{os.getpid()}.rave-partial").symlink_to(tmp_path / "victim")
    require_writable(tmp_path)
    assert not (tmp_path / "victim").exists()
    assert os.listdir(tmp_path) == [f".{os.getpid()}.rave-partial"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a library that is loaded before others")
def test_a_whole_run_onto_a_disk_without_fsync(tmp_path: Path, picture_file: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    code = "#include <errno.h>\nint fsync(int fd) { errno = ENOTSUP; return -1; }\n"
    (tmp_path / "shim.c").write_text(code)
    shim = tmp_path / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c"], check=True)
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()"]
    done = subprocess.run(
        [*command, picture_file, tmp_path / "out" / "b.jpg"],
        env=os.environ | {"LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "b.jpg").is_file()


def test_two_threads_may_make_one_folder(tmp_path: Path) -> None:
    faults = []

    def write(index: int) -> None:
        try:
            write_atomically(tmp_path / "a" / "b" / "c" / f"{index}.jpg", b"x")
        except PhotoError as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=[index]) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(os.listdir(tmp_path / "a" / "b" / "c")) == 8
