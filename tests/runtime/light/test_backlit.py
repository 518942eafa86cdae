"""Is this photograph backlit at all? The score, and copying what is not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.cli.parser import make_parser
from rave_runtime.light.score import BACKLIT_SCORE, backlit_score
from rave_runtime.photos.photo import Photo
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import Job, plan_jobs
from rave_runtime.run.journal import open_journal
from rave_runtime.run.options import RunOptions
from rave_runtime.run.results import Result
from tests.runtime.cli.program import rave_run_here
from tests.runtime.pictures import MakePicture


def test_the_score_is_what_the_darkest_third_lacks() -> None:
    light = np.array([0.2, 0.4, 0.6, 0.9, 0.9, 0.9, 1.0, 1.0, 1.5], np.float32)
    assert backlit_score([light]) == pytest.approx(1 - 0.4, abs=1e-3)
    assert backlit_score([light[5:], light[:2], light[2:5]]) == backlit_score([light]), "parts in any order"
    assert backlit_score([np.ones((4, 5), np.float32)]) == 0
    assert backlit_score([np.zeros((4, 5), np.float32)]) == 1
    assert backlit_score([np.full(4, 0.5, np.float32)]) == pytest.approx(0.5, abs=1e-3)


def test_backlit_pictures_score_more_than_bright_ones(enhancer: Enhancer, picture: MakePicture) -> None:
    normal = Enhancer(device="cpu")
    backlit, bright = picture(200, 260), np.full((200, 260, 3), 200, np.uint8)
    for one in (enhancer, normal):  # at full resolution and in the normal way
        assert one.backlit_score(bright) < BACKLIT_SCORE < one.backlit_score(backlit) <= 1
    deep = backlit.astype(np.uint16) * 257
    assert normal.backlit_score(deep) == pytest.approx(normal.backlit_score(backlit), abs=0.02)
    strong = Enhancer(device="cpu", strength=0.3, highlights=2)
    assert strong.backlit_score(backlit) == normal.backlit_score(backlit), "of the model's light alone"


@pytest.mark.parametrize("working_size", [None, 64])
def test_photographs_with_too_small_a_score_are_left_alone(
    picture: MakePicture, working_size: int | None
) -> None:
    one = Enhancer(device="cpu", working_size=working_size)
    pixels = picture(90, 120)
    scored = one.score_photo(Photo(pixels.copy(), "PNG"))
    assert scored.pixels is not None
    assert scored.backlit == one.backlit_score(pixels)
    photo = Photo(pixels.copy(), "PNG")
    left = one.score_photo(photo, reuse=True, least_score=1.1)
    assert left.pixels is None
    np.testing.assert_array_equal(photo.pixels, pixels)


@pytest.fixture
def photos(picture: MakePicture, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(picture(120, 160)).save(folder / "backlit.jpg", quality=90)
    bright = np.full((120, 160, 3), 205, np.uint8)
    Image.fromarray(bright).save(folder / "bright.jpg", quality=71, comment=b"as it was")
    return folder


def run(enhancer: Enhancer, jobs: list[Job], options: RunOptions) -> dict[str, Result]:
    return {result.job.name: result for result in Batch(enhancer, options).run(jobs)}


def test_what_is_not_backlit_is_copied_byte_for_byte(photos: Path, tmp_path: Path) -> None:
    jobs = plan_jobs(photos, tmp_path / "out")
    results = run(Enhancer(device="cpu"), jobs, RunOptions(only_backlit=True))
    assert {name: result.status for name, result in results.items()} == {
        "backlit.jpg": "done",
        "bright.jpg": "copied",
    }
    assert (tmp_path / "out" / "bright.jpg").read_bytes() == (photos / "bright.jpg").read_bytes()
    assert (tmp_path / "out" / "backlit.jpg").read_bytes() != (photos / "backlit.jpg").read_bytes()
    assert results["bright.jpg"].warnings == ()
    scores = {name: result.backlit or 0 for name, result in results.items()}
    assert scores["bright.jpg"] < BACKLIT_SCORE <= scores["backlit.jpg"]


def test_a_photograph_that_needs_no_light_is_left_as_it_is(photos: Path, tmp_path: Path) -> None:
    jobs = plan_jobs(photos, tmp_path / "out")
    result = run(Enhancer(device="cpu"), jobs, RunOptions())["bright.jpg"]
    assert (result.status, result.warnings) == ("copied", ())
    assert (tmp_path / "out" / "bright.jpg").read_bytes() == (photos / "bright.jpg").read_bytes()
    for name, options in (("a.png", RunOptions()), ("a.jpg", RunOptions(quality=60))):
        job = Job(photos / "bright.jpg", tmp_path / name, name)
        assert run(Enhancer(device="cpu"), [job], options)[name].status == "done", "another file is asked for"
        with Image.open(tmp_path / name) as written, Image.open(photos / "bright.jpg") as source:
            np.testing.assert_allclose(np.asarray(written, int), np.asarray(source, int), atol=2)
    full = Enhancer(device="cpu", working_size=None)  # the published result, whatever it is
    assert run(full, plan_jobs(photos, tmp_path / "full"), RunOptions())["bright.jpg"].status == "done"


def test_under_another_ending_it_is_written_but_not_enhanced(photos: Path, tmp_path: Path) -> None:
    job = Job(photos / "bright.jpg", tmp_path / "bright.png", "bright.jpg")
    result = run(Enhancer(device="cpu"), [job], RunOptions(only_backlit=True))["bright.jpg"]
    assert result.status == "copied"
    assert result.warnings == ("its pixels were not changed, but written as PNG",)
    with Image.open(tmp_path / "bright.png") as written, Image.open(photos / "bright.jpg") as source:
        assert written.format == "PNG"
        np.testing.assert_array_equal(np.asarray(written), np.asarray(source))


def test_under_its_own_name_even_a_misnamed_file_is_copied(photos: Path, tmp_path: Path) -> None:
    misnamed, target = photos / "bright.webp", tmp_path / "bright.webp"
    misnamed.write_bytes((photos / "bright.jpg").read_bytes())
    job = Job(misnamed, target, misnamed.name)
    result = run(Enhancer(device="cpu"), [job], RunOptions(only_backlit=True))[misnamed.name]
    assert (result.status, result.warnings) == ("copied", ())
    assert target.read_bytes() == misnamed.read_bytes()
    job = Job(misnamed, tmp_path / "other.webp", misnamed.name)
    options = RunOptions(only_backlit=True, format="WEBP")
    result = run(Enhancer(device="cpu"), [job], options)[misnamed.name]
    assert result.warnings[:1] == ("its pixels were not changed, but written as WEBP",)


def test_copies_are_resumed_and_other_choices_are_made_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def again(only_backlit: bool) -> list[str]:
        batch = Batch(
            Enhancer(device="cpu"),
            RunOptions(only_backlit=only_backlit, overwrite="always", skip_existing=True),
            journal=open_journal(out, ""),
        )
        results = {result.job.name: result.status for result in batch.run(plan_jobs(photos, out))}
        return [results["backlit.jpg"], results["bright.jpg"]]

    assert again(True) == ["done", "copied"]
    assert again(True) == ["skipped", "skipped"]
    assert again(False) == ["done", "copied"]


def test_the_program_tells_the_score(photos: Path, tmp_path: Path) -> None:
    log, report = tmp_path / "log.jsonl", tmp_path / "report.html"
    options = ["--only-backlit", "--device", "cpu", "--log", log, "--report", report]
    done = rave_run_here(photos, tmp_path / "out", *options)
    assert b"1 of 2 enhanced" in done.stdout
    assert b"1 left as is (not backlit)" in done.stdout
    assert b"already up to date" not in done.stdout
    lines = {line["name"]: line for line in map(json.loads, log.read_text().splitlines())}
    assert lines["bright.jpg"]["status"] == "copied"
    assert 0 <= lines["bright.jpg"]["backlit"] < BACKLIT_SCORE <= lines["backlit.jpg"]["backlit"] <= 1
    page = report.read_text()
    assert "<th>backlit</th>" in page
    assert f"<td>{lines['backlit.jpg']['backlit']:.2f}</td>" in page
    assert "1 left as is (not backlit)" in page


def test_a_stream_that_is_not_backlit_passes_through(photos: Path) -> None:
    content = (photos / "bright.jpg").read_bytes()
    assert rave_run_here("-", "-", "--only-backlit", "--device", "cpu", given=content).stdout == content
    backlit = (photos / "backlit.jpg").read_bytes()
    enhanced = rave_run_here("-", "-", "--only-backlit", "--device", "cpu", given=backlit).stdout
    with Image.open(io.BytesIO(enhanced)) as after, Image.open(io.BytesIO(backlit)) as before:
        assert np.asarray(after).mean() > np.asarray(before).mean() + 3


def test_another_score_may_be_asked_for(photos: Path, tmp_path: Path) -> None:
    jobs = plan_jobs(photos, tmp_path / "out")
    enhancer = Enhancer(device="cpu")
    score = {name: result.backlit for name, result in run(enhancer, jobs, RunOptions()).items()}[
        "backlit.jpg"
    ]
    assert score is not None
    for least, status in ((score - 0.01, "done"), (score + 0.01, "copied")):
        options = RunOptions(only_backlit=True, backlit_from=least, overwrite="always")
        assert run(enhancer, jobs, options)["backlit.jpg"].status == status
    dry = rave_run_here(photos, tmp_path / "dry", "--dry-run", "--backlit-from", score + 0.01)
    assert b"2 left as is" in dry.stdout or b"is not backlit" in dry.stdout
    wrong = rave_run_here(photos, tmp_path / "dry", "--backlit-from", 1.5)
    assert wrong.returncode == 2
    assert b"1.5 is not from 0 to 1" in wrong.stderr


def test_the_help_names_the_score() -> None:
    assert f"a score below {BACKLIT_SCORE:g}" in " ".join(make_parser().format_help().split())
