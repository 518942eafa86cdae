"""Which films a command line names, by themselves, by patterns and in folders; and which it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.runtime.cli.program import rave_run_here

from .conftest import MakeFilm, moving_scene, rave_run, read_film


@pytest.mark.parametrize("extra", [(), ("--dry-run",), ("--log", "log.jsonl")])
def test_a_pattern_is_expanded_like_one_of_photographs(
    make_film: MakeFilm, tmp_path: Path, extra: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("c1.mp4", "c2.mp4", "d.mp4"):
        make_film(name, moving_scene(2))
    done = rave_run_here("c*.mp4", "out", *extra)
    assert done.returncode == 0, done.stderr
    assert (b"2 of 2 would be" if extra == ("--dry-run",) else b"2 of 2 enhanced into out") in done.stdout
    done = rave_run_here("[d].mp4", "one", *extra)
    assert done.returncode == 0, done.stderr
    assert (b"1 of 1 would be" if extra == ("--dry-run",) else b"1 of 1 enhanced into one") in done.stdout


@pytest.mark.parametrize("output", ["o.mp4", "-"])
def test_a_pattern_of_one_film_stands_for_it(
    make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_film("c1.mp4", moving_scene(2))
    run = rave_run if output == "-" else rave_run_here
    done = run("c*", output, *["--film"] * (output == "-"))
    assert done.returncode == 0, done.stderr
    assert b"2 frames of 128 x 96 enhanced into" in (done.stdout if output != "-" else done.stderr)


def test_a_film_whose_name_is_like_a_pattern_is_that_film(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film("c[1].mp4", moving_scene(1))
    done = rave_run_here(film, tmp_path / "o.mp4")
    assert done.returncode == 0, done.stderr
    assert b"1 frame of 128 x 96 enhanced into" in done.stdout


@pytest.mark.parametrize(
    ("name", "kind"), [("no.mp4", "film"), ("n*.mp4", "photograph"), ("n*", "photograph")]
)
def test_what_does_not_exist_is_named(tmp_path: Path, name: str, kind: str) -> None:
    done = rave_run_here(tmp_path / name, tmp_path / "o.mp4")
    assert done.returncode == 2
    assert f"{tmp_path / name} does not exist".encode() in done.stderr
    assert f"give a {kind}".encode() in done.stderr


def test_a_film_behind_a_url_is_refused(tmp_path: Path) -> None:
    done = rave_run_here("s3://bucket/a.mp4", tmp_path / "o.mp4")
    assert done.returncode == 2
    assert b"s3://bucket/a.mp4 is a URL, and films are read from" in done.stderr


def test_a_kind_that_is_only_read_becomes_matroska(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film("a.mkv", moving_scene(2)).rename(tmp_path / "a.VOB")
    (tmp_path / "out").mkdir()
    assert rave_run_here(film, tmp_path / "out").returncode == 0
    assert len(read_film(tmp_path / "out" / "a.mkv")) == 2


def test_the_limit_of_megapixels_is_one_of_frames(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(2))
    for output in (tmp_path / "o.mp4", "-"):
        done = rave_run_here(film, output, "--max-megapixels", "0.01")
        assert done.returncode == 1
        assert b"has frames of 0.0123 megapixels, more than the limit of 0.01" in done.stderr
    done = rave_run_here(film, film, tmp_path / "out", "--full-resolution")
    assert done.returncode == 0, done.stderr
    assert b"is a film, to which --full-resolution does not apply" in done.stderr


def test_films_for_a_film_s_name_are_refused(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(2))
    done = rave_run_here(film, make_film("b.mkv", moving_scene(2)), tmp_path / "x.mp4")
    assert done.returncode == 2
    assert b"x.mp4 is the name of a film: for 2 inputs the last argument must be the folder" in done.stderr
    assert not (tmp_path / "x.mp4").exists()


def test_films_of_other_kinds(make_film: MakeFilm, tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    film = make_film("a.mkv", moving_scene(2))
    for name in ("a.wmv", "b.3gp", "c.FLV"):
        remuxed = make_film(name.lower(), moving_scene(2))
        shutil.copy(remuxed, inside / name)
    shutil.copy(film, inside / "d.rm")
    for name in ("e.mov", "f.m2t"):
        shutil.copy(make_film("x.ts" if name == "f.m2t" else name, moving_scene(2)), inside / name)
    (inside / "g.ts").write_bytes((inside / "f.m2t").read_bytes()[100:])  # begins inside a packet
    for name in ("e.braw", "g.insv", "h.psd"):
        (inside / name).touch()
    done = rave_run_here(inside, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode()
    assert f"2 films in {inside} are of kinds that rave-run cannot read (.braw, .insv): export as MP4" in said
    assert f"1 picture in {inside} is of a kind that rave-run cannot read (.psd)" in said
    names = {file.name for file in (tmp_path / "out").iterdir()} - {".rave-run.jsonl"}
    assert names == {"a.wmv", "b.3gp", "c.FLV", "d.mkv", "e.mov", "f.m2t", "g.ts"}
    for name in names:
        assert len(read_film(tmp_path / "out" / name)) == 2
    assert "b.3gp" in said.partition("files of that kind have no place for a comment")[0]
