"""Films say that they were enhanced, and are left as they are when they come again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from rave_runtime import Enhancer, PhotoError, __version__
from rave_runtime.cli.command import preview_folder, run_folder
from rave_runtime.cli.film import run_film
from rave_runtime.films.dividing import FilmOptions
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.marking import mark_film, read_film_mark
from rave_runtime.photos.metadata.mark import Mark, read_words, with_words
from rave_runtime.run.one_photo import mark_of
from rave_runtime.run.options import RunOptions

from .conftest import MakeFilm, moving_scene, read_film

OPTIONS = RunOptions(device="cpu", precision="fp32", working_size=32, strength=0.7)
MARK = Mark("1.2.3", "embedded", "0123456789abcdef", "0.7", "0.5")
KEPT = (".mp4", ".mov", ".mkv", ".webm", ".avi")


@pytest.fixture(scope="module")
def model() -> Enhancer:
    return Enhancer(device="cpu", precision="fp32", working_size=32, threads=1, strength=0.7)


@pytest.mark.parametrize("ending", KEPT)
def test_results_say_that_they_were_enhanced_and_are_left_as_they_are(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, ending: str
) -> None:
    film = make_film(frames=moving_scene(3), metadata={"comment": "Holiday", "title": "At the sea"})
    first, second, third = (tmp_path / f"{name}{ending}" for name in ("first", "second", "third"))
    assert enhance_film(film, first, model).warnings == []
    assert read_film_mark(film) is None
    assert (
        read_film_mark(first)
        == mark_of(model)
        == Mark(__version__, "embedded", model.manifest.model_hash, "0.7", "0.7")
    )
    left = run_film(first, second, OPTIONS)
    assert second.read_bytes() == first.read_bytes()
    assert (left.is_unchanged, left.enhanced_before) == (True, True)
    assert left.warnings == [
        f"was enhanced before, by rave-backlit {__version__} at strength 0.7, and was left as it is: "
        "--again enhances it once more"
    ]
    again = run_film(first, third, RunOptions(device="cpu", precision="fp32", working_size=32, again=True))
    assert (again.is_unchanged, again.enhanced_before, again.frames) == (False, True, 3)
    assert again.warnings[0].endswith("and once more now")
    mark = read_film_mark(third)
    assert mark is not None
    assert mark.strength == "1"


@pytest.mark.parametrize("ending", KEPT)
def test_other_programs_show_the_mark(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out{ending}"
    enhance_film(make_film(frames=moving_scene(2), metadata={"comment": "Holiday"}), out, model)
    shown = 0
    for program, *arguments in (
        ("exiftool", "-j", "-Comment"),
        ("ffprobe", "-v", "error", "-of", "json", "-show_entries", "format_tags=comment"),
    ):
        if (found := shutil.which(program)) is None:
            continue
        told = subprocess.run([found, *arguments, str(out)], capture_output=True, check=True).stdout
        assert with_words("Holiday", mark_of(model)) in json.dumps(json.loads(told))
        shown += 1
    if not shown:
        pytest.skip("needs exiftool or ffprobe")


@pytest.mark.parametrize("ending", [".ts", ".mpg"])
def test_a_container_without_a_comment_is_named(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out{ending}"
    (note,) = enhance_film(make_film(frames=moving_scene(2)), out, model).warnings
    assert "files of that kind have no place for a comment" in note
    assert read_film_mark(out) is None


def test_a_folder_counts_what_was_enhanced_before(make_film: MakeFilm, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(make_film(frames=moving_scene(2)), tmp_path / "in" / "a.mp4")
    run_folder(tmp_path / "in", tmp_path / "once", OPTIONS)
    (result,) = run_folder(tmp_path / "once", tmp_path / "twice", OPTIONS)
    assert (result.status, result.enhanced_before) == ("copied", True)
    assert (tmp_path / "twice" / "a.mp4").read_bytes() == (tmp_path / "once" / "a.mp4").read_bytes()
    ((sentence, fate),) = preview_folder(tmp_path / "once", tmp_path / "thrice", OPTIONS)
    assert fate == "copied"
    assert "was enhanced before, by rave-backlit" in sentence
    assert "would be copied to" in sentence


def test_it_is_copied_into_its_own_kind_of_file_only(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path
) -> None:
    first = tmp_path / "first.mp4"
    enhance_film(make_film(frames=moving_scene(2)), first, model)
    with pytest.raises(PhotoError, match=r"left as it is in a \.mp4 file only: give --again"):
        run_film(first, tmp_path / "second.mkv", OPTIONS)
    assert not (tmp_path / "second.mkv").exists()
    with first.open("rb") as stream, pytest.raises(PhotoError, match="--again enhances it once more"):
        enhance_film(stream, tmp_path / "second.mkv", model)
    with first.open("rb") as stream:
        enhance_film(stream, tmp_path / "second.mkv", model, FilmOptions(again=True))
    assert len(read_film(tmp_path / "second.mkv")) == 2


def test_what_was_not_enhanced_gets_no_mark(make_film: MakeFilm, tmp_path: Path) -> None:
    nothing = Enhancer(device="cpu", precision="fp32", strength=0, highlights=0)
    out = tmp_path / "out.mp4"
    assert enhance_film(make_film(frames=moving_scene(2)), out, nothing).warnings == []
    assert read_film_mark(out) is None


def test_a_sentence_is_read_as_it_was_written_and_replaced() -> None:
    assert read_words("Holiday") is None
    once = with_words("Holiday, (at) the sea", MARK)
    assert once.startswith("Holiday, (at) the sea; Enhanced by rave-backlit 1.2.3 (model embedded, ")
    assert read_words(once) == MARK
    other = Mark("2.0", "my, (own)", "", "1.5", "0")
    assert read_words(with_words(once, other)) == Mark("2.0", "my_ _own_", "", "1.5", "0")
    assert with_words(with_words(once, other), MARK) == once
    assert with_words(with_words("", other), MARK) == with_words("", MARK)
    metadata = {"COMMENT": "Holiday", "TITLE": "At the sea"}
    mark_film(metadata, MARK)
    assert metadata == {"TITLE": "At the sea", "comment": with_words("Holiday", MARK)}
