"""Which names count as photographs, which are named in the warning, and how results are named."""

from __future__ import annotations

import io
import shutil
import warnings
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime.cli.command import run_folder
from rave_runtime.cli.parser import make_parser
from rave_runtime.photos.decoders import register_heif
from rave_runtime.photos.formats import (
    FORMATS,
    KNOWN_ENDINGS,
    READ_ENDINGS,
    UNREADABLE_ENDINGS,
    ending_of_result,
    format_of_content,
    format_of_ending,
)
from rave_runtime.photos.headers.reasons import UNKNOWN_ENDINGS
from rave_runtime.run.jobs import Naming, plan_jobs
from rave_runtime.run.options import RunOptions

FAULTS = Path(__file__).parents[4] / "shared" / "data" / "faults"


def saved(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 20).convert("RGB").point(lambda value: value // 2).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "format", "kept", "as_png"),
    [
        ("DSC1.HIF", "HEIF", "DSC1.HIF", "DSC1.png"),
        ("a.mpo", "JPEG", "a.jpg", "a.png"),
        ("a.MPO", "JPEG", "a.jpg", "a.png"),
        ("a.jps", "JPEG", "a.jps", "a.png"),
        ("a.insp", "JPEG", "a.jpg", "a.png"),
        ("a.apng", "PNG", "a.png", "a.png"),
        ("a.j2k", "JPEG2000", "a.png", "a.png"),
        ("a.jpx", "JPEG2000", "a.png", "a.png"),
        ("a.gif", "GIF", "a.png", "a.png"),
        ("a.CR3", "RAW", "a.tif", "a.png"),
        ("a.JPG", "JPEG", "a.JPG", "a.png"),
        ("a.pnm", "PPM", "a.pnm", "a.png"),
        ("a.unknown", None, "a.unknown", "a.png"),
        ("nothing", None, "nothing", "nothing.png"),
    ],
)
def test_names_of_results(name: str, format: str | None, kept: str, as_png: str) -> None:
    assert format_of_ending(name) == format
    assert Naming().name_of(name) == Path(kept)
    assert Naming(format="PNG").name_of(name) == Path(as_png)


@pytest.mark.parametrize(
    "ending",
    [
        ".rwz",
        ".eip",
        ".tga",
        ".psd",
        ".psb",
        ".exr",
        ".qoi",
        ".avci",
        ".pcd",
        ".dpx",
    ],
)
def test_what_cannot_be_read_is_named_in_a_warning(tmp_path: Path, ending: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(saved("JPEG"))
    (tmp_path / "in" / f"b{ending.upper()}").write_bytes(b"x")
    with pytest.warns(UserWarning, match=rf"1 picture.*\{ending}"):
        jobs = plan_jobs(tmp_path / "in", tmp_path / "out")
    assert [job.name for job in jobs] == ["a.jpg"]


def test_no_ending_stands_for_two_things() -> None:
    listed = [ending for row in FORMATS for ending in (*row.endings, *row.read_only_endings)]
    assert len(listed) == len(set(listed)) == len(KNOWN_ENDINGS)
    assert not set(listed) & set(UNKNOWN_ENDINGS)
    assert set(READ_ENDINGS) | set(UNREADABLE_ENDINGS) == {*KNOWN_ENDINGS, *UNKNOWN_ENDINGS}
    for row in FORMATS:
        assert ending_of_result("x" + row.endings[0], row.name) == row.endings[0]


def test_the_help_of_rave_run_lists_every_format_that_is_written() -> None:
    text = " ".join(make_parser().format_help().split())
    *others, last = (row.name.lower() for row in FORMATS if row.is_written)
    assert f"Write all results as {', '.join(others)} or {last}." in text


def test_a_format_that_is_only_read_has_no_memory_of_writing() -> None:
    assert {row.name for row in FORMATS if not row.is_written} == {"GIF", "JPEG2000", "RAW"}
    assert all(10 <= row.read_bytes_per_px <= 60 for row in FORMATS)


@pytest.mark.parametrize(
    ("name", "format", "result"),
    [
        ("a.mpo", "JPEG", "a.jpg"),
        ("a.pjpeg", "JPEG", "a.pjpeg"),
        ("a.ptif", "TIFF", "a.tif"),
        ("a.jps", "JPEG", "a.jps"),
        ("a.insp", "JPEG", "a.jpg"),
        ("a.apng", "PNG", "a.png"),
        ("a.jpx", "JPEG2000", "a.png"),
        ("a.j2k", "JPEG2000", "a.png"),
        ("a.HIF", "HEIF", "a.HIF"),
    ],
)
def test_a_folder_of_such_files_is_enhanced(tmp_path: Path, name: str, format: str, result: str) -> None:
    if format == "HEIF" and not register_heif():
        pytest.skip("needs pillow-heif")
    (tmp_path / "in").mkdir()
    content = saved(format)
    if name == "a.j2k":
        content = content[content.index(b"\xff\x4f\xff\x51") :]
    (tmp_path / "in" / name).write_bytes(content)
    options = RunOptions(device="cpu", precision="fp32", working_size=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (done,) = run_folder(tmp_path / "in", tmp_path / "out", options)
    assert (done.status, done.error) == ("done", None)
    assert format_of_content((tmp_path / "out" / result).read_bytes()) == format_of_ending(result)


def test_a_cameras_hif_with_format_png_becomes_a_png_by_name(tmp_path: Path) -> None:
    source = FAULTS / "02-camera-heif.HIF"
    if not source.exists() or not register_heif():
        pytest.skip("needs shared/data/faults and pillow-heif")
    shutil.copy(source, tmp_path / "DSC.HIF")
    options = RunOptions(device="cpu", precision="fp32", working_size=32, format="png")
    (done,) = run_folder(tmp_path / "DSC.HIF", tmp_path / "out", options)
    assert done.status == "done"
    assert format_of_content((tmp_path / "out" / "DSC.png").read_bytes()) == "PNG"
