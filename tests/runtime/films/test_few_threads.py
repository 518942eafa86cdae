"""Films where the system allows few threads, or none beside the first one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rave_runtime.films.opening import import_av
from tests.runtime.films.conftest import MakeFilm

NOBODY = "-all,+dac_override,+dac_read_search"
"""The system's user without rights, who may still read where Python lies here: no limit binds root."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or (os.geteuid() == 0 and shutil.which("setpriv") is None),
    reason="needs a limit of processes that binds",
)


def run_with(threads: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs rave-run as a user who may have that many threads, the first one included."""
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({threads}, {threads}))\n"
        "from rave_runtime.cli import main; main()"
    )
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={NOBODY}"]
    user += [f"--ambient-caps={NOBODY}", f"--bounding-set={NOBODY}"]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return subprocess.run(
        [*(user if os.geteuid() == 0 else []), sys.executable, "-c", code, *map(str, arguments)],
        env=environment | {"RAVE_CACHE_DIR": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
