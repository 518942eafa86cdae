"""The permissions of new files, as the user's mask and the files that they are made of say."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rave_runtime.files import permissions
from rave_runtime.files.atomic import write_atomically

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows knows no such permissions")


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
        answers = list(pool.map(lambda _: permissions._umask(), range(8)))
    assert (set(answers), mask) == ({0o022}, 0o022)


def test_the_umask_of_a_block_lasts(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with permissions.lasting_umask():
            os.umask(0o077)
            write_atomically(tmp_path / "a.jpg", b"x")
        write_atomically(tmp_path / "b.jpg", b"x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.jpg", "b.jpg")]
    assert modes == [0o640, 0o600]
