"""Folders by command line: they are mirrored, gone on with, and as private as what they came from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime.cli.program import rave_run, run_here


def test_a_folder_is_mirrored(photos: Path, tmp_path: Path) -> None:
    done = rave_run(photos, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 enhanced" in done.stdout
    written = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert written == [".rave-run.jsonl", "a.jpg", "deeper/b.png"]
    before, after = (np.asarray(Image.open(root / "deeper/b.png")) for root in (photos, tmp_path / "out"))
    assert after[50:].mean() > 1.2 * before[50:].mean()


def test_one_bad_file_does_not_stop_the_others(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:400])
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.tif").write_text("hello")
    done = run_here(photos, tmp_path / "out")
    assert done.returncode == 1
    assert "2 of 5 enhanced" in done.stdout
    assert "3 failed" in done.stdout
    assert "failed: broken.jpg is damaged or truncated" in done.stderr
    assert "failed: empty.png is empty (0 bytes)" in done.stderr
    assert "failed: text.tif is not a picture" in done.stderr
    assert not (tmp_path / "out" / "broken.jpg").exists()
    assert not list((tmp_path / "out").rglob("*partial*"))


def test_a_single_file(photos: Path, tmp_path: Path) -> None:
    assert run_here(photos / "a.jpg", tmp_path / "result.png", "--tile-size", 40).returncode == 0
    with Image.open(tmp_path / "result.png") as image:
        assert (image.format, image.size) == ("PNG", (70, 50))
    assert run_here(photos / "a.jpg", tmp_path / "folder").returncode == 0
    assert (tmp_path / "folder" / "a.jpg").is_file()


def test_a_resumed_run_takes_only_what_is_new(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(photos, out).returncode == 0
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    stamp = (out / "a.jpg").stat().st_mtime_ns
    done = run_here(photos, out, "--skip-existing")
    assert "0 of 2 enhanced" in done.stdout
    assert "2 already up to date" in done.stdout
    (out / "deeper" / "b.png").unlink()
    done = run_here(photos, out, "--skip-existing")
    assert "1 of 2 enhanced" in done.stdout
    assert (out / "a.jpg").stat().st_mtime_ns == stamp
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first
    done = run_here(photos, out, "--skip-existing", "--strength", 0.5)
    assert "2 of 2 enhanced" in done.stdout


def test_strength_0_changes_nothing(photos: Path, tmp_path: Path) -> None:
    assert run_here(photos / "deeper" / "b.png", tmp_path / "same.png", "--strength", 0).returncode == 0
    before, after = (Image.open(path) for path in (photos / "deeper" / "b.png", tmp_path / "same.png"))
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")
def test_who_may_not_read_a_photograph_may_not_read_its_result(photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").chmod(0o400)
    (photos / "deeper" / "b.png").chmod(0o644)
    assert run_here(photos, tmp_path / "out").returncode == 0
    modes = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("a.jpg", "deeper/b.png")]
    assert modes == [0o600, 0o644 & ~current_umask()]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")
@pytest.mark.parametrize("one", [True, False])
def test_a_new_folder_is_as_private_as_that_of_the_photographs(
    one: bool, photos: Path, tmp_path: Path
) -> None:
    photos.chmod(0o700)
    source, output = (photos / "a.jpg", tmp_path / "out" / "b.jpg") if one else (photos, tmp_path / "out")
    done = run_here(source, output)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
