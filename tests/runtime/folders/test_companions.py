"""Times and files beside a photograph come along with its result."""

from __future__ import annotations

import os
from pathlib import Path

from rave_runtime.cli.command import run_folder
from tests.runtime.folders.runs import QUICK, options


def test_times_and_companions_come_along(photos: Path, tmp_path: Path) -> None:
    (photos / "a.xmp").write_bytes(b"rating")
    (photos / "sub" / "c.mov").write_bytes(b"film")
    for file in (photos / "a.jpg", photos / "a.xmp"):
        os.utime(file, ns=(10**18, 10**18))
    for _ in range(2):
        results = run_folder(photos, tmp_path / "out", QUICK)
        assert [result.warnings for result in results] == [(), (), ()]
    out = tmp_path / "out"
    assert (out / "a.xmp").read_bytes() == b"rating"
    assert (out / "sub" / "c.mov").read_bytes() == b"film"
    assert (out / "a.jpg").stat().st_mtime_ns == (out / "a.xmp").stat().st_mtime_ns == 10**18
    (photos / "a.xmp").write_bytes(b"a new rating")
    run_folder(photos, out, QUICK)
    assert (out / "a.xmp").read_bytes() == b"a new rating", "a copy of ours is replaced"
    (out / "a.xmp").write_bytes(b"my own")
    first, *_ = run_folder(photos, out, QUICK)
    assert first.warnings == (
        f"its a.xmp was not copied, since {out / 'a.xmp'} is there and rave-run did not write it",
    )
    assert (out / "a.xmp").read_bytes() == b"my own"


def test_times_may_be_left(photos: Path, tmp_path: Path) -> None:
    os.utime(photos / "a.jpg", ns=(10**18, 10**18))
    run_folder(photos / "a.jpg", tmp_path / "b.jpg", options(keep_times=False))
    assert (tmp_path / "b.jpg").stat().st_mtime_ns > 10**18
