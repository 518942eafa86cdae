"""A film by the command line."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime.films.marking import read_film_mark
from rave_runtime.run.jobs import plan_jobs
from tests.runtime.cli.program import rave_run_here
from tests.runtime.pictures import MakePicture

from .conftest import MakeFilm, av, moving_scene, rave_run, read_film

KILLS = int(os.environ.get("RAVE_TEST_KILLS", "3"))
"""Runs that are killed, spread over the time that a run takes."""


def test_one_film(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(4))
    done = rave_run(film, tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    assert b"4 frames of 128 x 96 enhanced into" in done.stdout
    assert len(read_film(tmp_path / "out.mp4")) == 4
    again = rave_run_here(film, tmp_path / "out.mp4")
    assert again.returncode == 0, "its own result may be replaced"


def test_a_film_that_rave_run_did_not_write_stays(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(4))
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    done = rave_run_here(film, tmp_path / "mine.mp4")
    assert done.returncode == 1
    assert b"rave-run did not write it" in done.stderr
    assert (tmp_path / "mine.mp4").read_bytes() == b"mine"
    assert rave_run_here(film, film).returncode == 2
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
        assert b"are for photographs" in rave_run_here(film, tmp_path / "o.mp4", option).stderr
        assert not (tmp_path / "o.mp4").exists()
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(film.read_bytes()[:200])
    assert b"rave-run: the film cannot be opened" in rave_run_here(torn, tmp_path / "o.mp4").stderr
    assert (
        b"--film-encoder is for films" in rave_run_here("a.jpg", "b.jpg", "--film-encoder", "libx264").stderr
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing", "is not an encoder for films that this FFmpeg has"),
        ("aac", "is not an encoder for films that this FFmpeg has"),
        ("mjpeg", "does not start on this machine"),
    ],
)
@pytest.mark.parametrize("extra", [(), ("--dry-run",)])
def test_an_encoder_that_cannot_be_used_is_refused_once_before_any_work(
    make_film: MakeFilm, tmp_path: Path, name: str, reason: str, extra: tuple[str, ...]
) -> None:
    (tmp_path / "in").mkdir()
    for each in ("a.mp4", "b.mp4"):
        shutil.copy(make_film(frames=moving_scene(2)), tmp_path / "in" / each)
    run = rave_run_here if extra else rave_run  # what FFmpeg says goes past Python
    done = run(tmp_path / "in", tmp_path / "out", "--film-encoder", name, *extra)
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert f"--film-encoder {name} {reason}" in done.stderr.decode()
    assert b"give one of libx264, libx265" in done.stderr
    assert not (tmp_path / "out").exists()
    if not extra:
        assert (
            rave_run_here(tmp_path / "in" / "a.mp4", tmp_path / "o.mp4", "--film-encoder", name).returncode
            == 2
        )
        assert not (tmp_path / "o.mp4").exists()


def test_an_encoder_that_the_container_cannot_hold_is_said(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(2))
    done = rave_run_here(film, tmp_path / "o.webm", "--film-encoder", "libx264")
    assert done.returncode == 2
    assert b"libx264 makes a film that the container webm cannot hold" in done.stderr
    assert not (tmp_path / "o.webm").exists()


def test_films_and_photographs_of_a_folder(make_film: MakeFilm, tmp_path: Path, picture: MakePicture) -> None:
    inside = tmp_path / "in" / "day"
    inside.mkdir(parents=True)
    film = make_film(frames=moving_scene(4), sound=True)
    os.utime(film, ns=(10**18, 10**18))
    shutil.copy2(film, inside / "walk.MP4")
    shutil.copy2(film, inside / "live.mov")
    (inside / "walk.xmp").write_text("<x/>")
    (inside / "index.ts").write_text("export const Greeting = 'Hello';\n" * 40)
    Image.fromarray(picture(48, 64)).save(inside / "live.jpg")
    log, report = tmp_path / "log.jsonl", tmp_path / "report.html"
    out = tmp_path / "out"
    done = rave_run_here(tmp_path / "in", out, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{Path('day') / 'walk.MP4'} is a film and would go to".encode() in done.stdout
    assert b"2 of 2 would be enhanced" in done.stdout
    assert not out.exists()
    done = rave_run_here(
        tmp_path / "in", out, "--log", log, "--report", report, "--format", "png", "--suffix", "_b"
    )
    assert done.returncode == 0, done.stderr
    assert b"2 of 2 enhanced into" in done.stdout
    assert b"1 film)" in done.stdout
    assert b"walk.MP4: is a film, to which --format does not apply" in done.stderr
    names = {file.name for file in (out / "day").iterdir()}
    assert names == {"walk_b.MP4", "walk_b.xmp", "live_b.png", "live_b.mov"}
    assert len(read_film(out / "day" / "walk_b.MP4")) == 4
    assert (out / "day" / "walk_b.MP4").stat().st_mtime_ns == 10**18
    assert (out / "day" / "live_b.mov").read_bytes() == film.read_bytes(), "a Live Photo's film is copied"
    lines = {entry["name"]: entry for entry in map(json.loads, log.read_text().splitlines())}
    of_film = lines[str(Path("day") / "walk.MP4")]
    assert (of_film["status"], of_film["width_px"], of_film["height_px"]) == ("done", 128, 96)
    assert "walk.MP4" in report.read_text()

    written = (out / "day" / "walk_b.MP4").stat().st_ino
    again = rave_run_here(tmp_path / "in", out, "--format", "png", "--suffix", "_b", "--skip-existing")
    assert b"2 already up to date" in again.stdout
    assert (out / "day" / "walk_b.MP4").stat().st_ino == written
    changed = rave_run_here(
        *(tmp_path / "in", out, "--format", "png", "--suffix", "_b", "--skip-existing", "--quality", "30")
    )
    assert b"2 of 2 enhanced" in changed.stdout
    assert (out / "day" / "walk_b.MP4").stat().st_ino != written


def test_a_folder_s_film_that_rave_run_did_not_write_stays(make_film: MakeFilm, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    shutil.copy(make_film(frames=moving_scene(2)), tmp_path / "in" / "a.mp4")
    (tmp_path / "out" / "a.mp4").write_bytes(b"mine")
    preview = rave_run_here(tmp_path / "in", tmp_path / "out", "--dry-run")
    assert preview.returncode == 1
    assert b"a.mp4 would be left out" in preview.stderr
    done = rave_run_here(tmp_path / "in", tmp_path / "out")
    assert done.returncode == 1
    assert b"rave-run did not write it" in done.stderr
    assert (tmp_path / "out" / "a.mp4").read_bytes() == b"mine"
    assert rave_run_here(tmp_path / "in", tmp_path / "out", "--overwrite", "always").returncode == 0
    assert len(read_film(tmp_path / "out" / "a.mp4")) == 2


def test_a_broken_film_of_a_folder_fails_alone(make_film: MakeFilm, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    film = make_film(frames=moving_scene(2))
    shutil.copy(film, tmp_path / "in" / "a.mp4")
    (tmp_path / "in" / "b.mp4").write_bytes(film.read_bytes()[:200])
    done = rave_run_here(tmp_path / "in", tmp_path / "out")
    assert done.returncode == 1
    assert b"failed: b.mp4 cannot be opened as a film" in done.stderr
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a.mp4", ".rave-run.jsonl"}


def test_several_films_go_into_a_folder(make_film: MakeFilm, tmp_path: Path) -> None:
    first, second = make_film("a.mp4", moving_scene(2)), make_film("b.mkv", moving_scene(2))
    done = rave_run_here(first, second, tmp_path / "out", "--film-encoder", "libx264")
    assert done.returncode == 0, done.stderr
    assert b"2 of 2 enhanced into" in done.stdout
    assert len(read_film(tmp_path / "out" / "b.mkv")) == 2


@pytest.mark.parametrize(
    "option", [("--format", "jpeg"), ("--only-backlit",), ("--hdr",), ("--full-resolution",)]
)
def test_options_for_photographs_are_refused_for_a_film(
    make_film: MakeFilm, tmp_path: Path, option: tuple[str, ...]
) -> None:
    done = rave_run_here(make_film(frames=moving_scene(2)), tmp_path / "o.mp4", *option)
    assert done.returncode == 2
    assert f"{option[0]} is for photographs: leave it out for a film".encode() in done.stderr
    assert not (tmp_path / "o.mp4").exists()


def test_a_film_killed_in_the_middle_leaves_the_old_file_and_nothing_else_that_stays(
    make_film: MakeFilm, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(make_film(frames=moving_scene(100)), tmp_path / "in" / "a.mp4")
    out = tmp_path / "out"
    program = [
        sys.executable,
        "-c",
        "from rave_runtime.cli import main; main()",
        str(tmp_path / "in"),
        str(out),
    ]
    with subprocess.Popen(program) as running:
        while running.poll() is None and not any(file.stat().st_size for file in _partials(out)):
            time.sleep(0.02)
        running.kill()
    assert not (out / "a.mp4").exists()
    assert _partials(out)
    assert rave_run_here(tmp_path / "in", out, "--skip-existing").returncode == 0
    assert {file.name for file in out.iterdir()} == {"a.mp4", ".rave-run.jsonl"}
    assert len(read_film(out / "a.mp4")) == 100


@pytest.mark.parametrize("is_single", [True, False], ids=["one film", "a folder"])
def test_a_film_killed_at_any_moment_is_the_old_one_or_the_new_one(
    make_film: MakeFilm, tmp_path: Path, is_single: bool
) -> None:
    frames = 8
    source, out = tmp_path / "in" / "a.mp4", tmp_path / "out"
    source.parent.mkdir()
    shutil.copy(make_film(frames=moving_scene(frames), sound=True), source)
    places = (source, out / "a.mp4") if is_single else (source.parent, out)
    assert rave_run_here(*places, "--strength", "0.5").returncode == 0
    old = (out / "a.mp4").read_bytes()
    started = time.monotonic()
    assert rave_run(*places, "--strength", "0.5").returncode == 0
    usual_s = time.monotonic() - started
    rng = random.Random(int(is_single))
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", *map(str, places)]
    seen = set()
    for kill in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            share = (kill + rng.random()) / KILLS  # spread over the whole run, and a little beyond
            time.sleep(1.1 * usual_s * share)
            running.kill()
        if (out / "a.mp4").read_bytes() == old:
            seen.add("old")
            continue
        mark = read_film_mark(out / "a.mp4")
        assert mark is not None
        assert mark.strength == "1"
        assert len(read_film(out / "a.mp4")) == frames
        seen.add("new")
        assert rave_run_here(*places, "--strength", "0.5").returncode == 0, (
            "what a killed run wrote is its own"
        )
        old = (out / "a.mp4").read_bytes()
    assert "old" in seen
    assert rave_run_here(*places).returncode == 0
    mark = read_film_mark(out / "a.mp4")
    assert mark is not None
    assert mark.strength == "1", "a run that nobody killed replaces the old film"
    assert rave_run_here(source.parent, out).returncode == 0  # a folder's run clears away what was abandoned
    assert {file.name for file in out.iterdir()} == {"a.mp4", ".rave-run.jsonl"}


def _partials(folder: Path) -> list[Path]:
    return list(folder.glob(".*.rave-partial"))


def test_without_pyav_films_of_a_folder_are_named_in_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.MOV", "c.jpg"):
        (tmp_path / "in" / name).touch()
    monkeypatch.setattr("rave_runtime.run.jobs.can_read_films", lambda: False)
    with pytest.warns(UserWarning, match=r"2 films in .* left out: pip install 'rave-backlit\[video\]'"):
        jobs = plan_jobs(tmp_path / "in", tmp_path / "out")
    assert [job.name for job in jobs] == ["c.jpg"]
