"""Films where the system allows few threads, or none beside the first one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rave_runtime.films.opening import import_av
from tests.runtime.few_threads import needs_a_limit, run_with
from tests.runtime.films.conftest import MakeFilm

pytestmark = needs_a_limit


@pytest.mark.parametrize("threads", [1, 3, 8, 16])
def test_a_film_does_with_the_threads_there_are(make_film: MakeFilm, tmp_path: Path, threads: int) -> None:
    av = import_av()
    done = run_with(threads, make_film(sound=True), tmp_path / "out.mp4", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 12


@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1"])
def test_an_encoder_that_needs_more_threads_says_so_in_a_line(
    make_film: MakeFilm, tmp_path: Path, encoder: str
) -> None:
    """x265 waits for ever for threads that could not start, SVT-AV1 says that there is no memory."""
    if encoder not in import_av().codecs_available:
        pytest.skip(f"this FFmpeg has no {encoder}")
    done = run_with(2, make_film(), tmp_path / "out.mkv", "--film-encoder", encoder, "--device", "cpu")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "rave-run: the film needs more threads than the system allows: raise the limit (ulimit -u, or the "
        "container's), or give --film-encoder libx264, which needs the fewest\n"
    )
    assert not (tmp_path / "out.mkv").exists()
