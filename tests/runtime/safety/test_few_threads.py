"""HEIC and AVIF, whose libraries start threads, where the system allows few of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, features

from tests.runtime.few_threads import needs_a_limit, run_with

pytestmark = needs_a_limit


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize("threads", [1, 3])
def test_avif_is_read_and_written_in_the_thread_there_is(
    photograph: Path, tmp_path: Path, threads: int
) -> None:
    """Whole files were called damaged."""
    for source, target in ((photograph, "b.avif"), (tmp_path / "b.avif", "c.jpg")):
        done = run_with(threads, source, tmp_path / target, "--device", "cpu", "--strength", "0")
        assert (done.returncode, done.stderr) == (0, "")


def test_heic_is_refused_in_a_line_where_its_library_would_wait_for_ever(
    photograph: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pillow_heif")
    done = run_with(1, photograph, tmp_path / "b.heic", "--device", "cpu")
    assert done.returncode == 1
    assert done.stderr == (
        "failed: a.jpg cannot be written as HEIC, which needs more threads than the system allows: raise the "
        "limit (ulimit -u, or the container's), or give --format jpeg\n"
    )
    done = run_with(10, photograph, tmp_path / "b.heic", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    done = run_with(1, tmp_path / "b.heic", tmp_path / "c.jpg", "--device", "cpu")
    assert done.returncode == 1
    assert "b.heic cannot be read as HEIC: it is damaged, or the library needs one more thread" in done.stderr
