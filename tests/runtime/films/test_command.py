"""A film by the command line."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from .conftest import MakeFilm, av, moving_scene, read_film


def rave_run(*arguments: object, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, input=given, check=False)


def test_one_film(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(4))
    done = rave_run(film, tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    assert b"4 frames of 128 x 96 enhanced into" in done.stdout
    assert len(read_film(tmp_path / "out.mp4")) == 4
    again = rave_run(film, tmp_path / "out.mp4")
    assert again.returncode == 0, "its own result may be replaced"


def test_a_film_that_rave_run_did_not_write_stays(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(4))
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    done = rave_run(film, tmp_path / "mine.mp4")
    assert done.returncode == 1
    assert b"rave-run did not write it" in done.stderr
    assert (tmp_path / "mine.mp4").read_bytes() == b"mine"
    assert rave_run(film, film).returncode == 2
    assert len(read_film(film)) == 4


def test_a_stream(make_film: MakeFilm) -> None:
    film = make_film("film.ts", moving_scene(6))
    done = rave_run("-", "-", "--film", given=film.read_bytes())
    assert done.returncode == 0, done.stderr
    with av.open(io.BytesIO(done.stdout), format="mpegts") as container:
        assert len(list(container.decode(video=0))) == 6


def test_wrong_use_is_said(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(2))
    for option in ("--dry-run", "--watch"):
        assert b"are for photographs" in rave_run(film, tmp_path / "o.mp4", option).stderr
        assert not (tmp_path / "o.mp4").exists()
    assert b"films are enhanced one by one" in rave_run(film, film, tmp_path).stderr
    assert b"has no encoder nothing" in rave_run(film, tmp_path / "o.mp4", "--film-encoder", "nothing").stderr
    assert b"--film-encoder is for films" in rave_run("a.jpg", "b.jpg", "--film-encoder", "libx264").stderr
