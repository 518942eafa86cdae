"""Times and files beside a photograph come along with its result."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from rave_runtime.cli.command import run_folder
from rave_runtime.photos.xmp import orientation_in_xmp
from tests.runtime.folders.runs import QUICK, options
from tests.runtime.handmade import scene
from tests.runtime.metadata.packets import packet


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


@pytest.mark.parametrize(("stated", "expected"), [(6, 1), (8, 8)])
def test_xmp_beside_a_photograph_turns_with_it(
    photos: Path, tmp_path: Path, stated: int, expected: int
) -> None:
    """Programs that read it, such as digiKam, would turn the upright result once more."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(scene(32, 48) // 4).save(photos / "a.jpg", exif=exif)
    sidecar = packet("", f' tiff:Orientation="{stated}"')
    (photos / "a.jpg.xmp").write_bytes(sidecar)
    (photos / "b.xmp").write_bytes(sidecar)
    first, *_ = run_folder(photos, tmp_path / "out", QUICK)
    assert first.height_px == 48
    copied = (tmp_path / "out" / "a.jpg.xmp").read_bytes()
    assert orientation_in_xmp(copied) == expected
    assert bool(first.warnings) == (expected != 1)
    assert (tmp_path / "out" / "b.xmp").read_bytes() == sidecar, "its photograph was not turned"


def test_times_may_be_left(photos: Path, tmp_path: Path) -> None:
    os.utime(photos / "a.jpg", ns=(10**18, 10**18))
    run_folder(photos / "a.jpg", tmp_path / "b.jpg", options(keep_times=False))
    assert (tmp_path / "b.jpg").stat().st_mtime_ns > 10**18


OUTSIDE = "was not copied: it is a link to a file outside the folder of the photographs"


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
@pytest.mark.parametrize("given", ["folder", "photograph"])
def test_a_link_beside_a_photograph_brings_no_other_file_along(
    photos: Path, tmp_path: Path, given: str
) -> None:
    """Whoever can put a link into a folder of photographs could have any file of its owner's copied."""
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("key", "a.xmp"):
        (secret / name).write_bytes(b"a key of somebody's")
    (photos / "a.xmp").symlink_to(secret / "key")
    (photos / "a.aae").symlink_to("../secret/a.xmp")
    (photos / "a.mov").symlink_to("/etc/passwd")
    (photos / "a.jpg.xmp").symlink_to("a.jpg.xmp")
    source = photos if given == "folder" else photos / "a.jpg"
    out = tmp_path / "out"
    first, *_ = run_folder(source, out / "", QUICK)
    assert first.status == "done"
    assert set(first.warnings) == {
        *(f"its a.{ending} {OUTSIDE}" for ending in ("aae", "mov", "xmp")),
        "its a.jpg.xmp was not copied: Too many levels of symbolic links",
    }
    copied = {file.name for file in out.rglob("*") if file.suffix in (".xmp", ".aae", ".mov")}
    assert copied == set()


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_links_inside_the_folder_and_links_to_photographs_are_followed(photos: Path, tmp_path: Path) -> None:
    """Folders of links to photographs elsewhere, and edits that are kept in a folder beside, are common."""
    (photos / "edits").mkdir()
    (photos / "edits" / "of a").write_bytes(b"edits")
    (photos / "sub" / "c.xmp").symlink_to("../edits/of a")
    archive = tmp_path / "archive"
    archive.mkdir()
    (photos / "a.jpg").rename(archive / "0001.jpg")
    for ending in (".jpg", ".xmp"):
        (photos / f"a{ending}").symlink_to(archive / f"0001{ending}")
    (archive / "0001.xmp").write_bytes(b"its edits")
    (archive / "0002.xmp").write_bytes(b"edits of another one")
    (photos / "a.jpg.xmp").symlink_to(archive / "0002.xmp")
    out = tmp_path / "out"
    results = {result.job.name: result for result in run_folder(photos, out, QUICK)}
    assert results["a.jpg"].warnings == (f"its a.jpg.xmp {OUTSIDE}",)
    assert (out / "a.xmp").read_bytes() == b"its edits"
    assert (out / "sub" / "c.xmp").read_bytes() == b"edits"
    assert not (out / "a.jpg.xmp").exists()
    assert not any(file.is_symlink() for file in out.rglob("*"))
