"""Wrong use exits 2 with one line, before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime.bundle import embedded_bundle
from rave_runtime.run.options import RunOptions
from tests.runtime.cli.program import rave_run, run_here


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing", "out"], "missing does not exist: give a photograph or a folder"),
        (["empty", "out"], "empty holds no photograph"),
        (["photos", "photos/out"], "photos/out is inside photos"),
        (["photos", "photos"], "photos is INPUT itself"),
        (["photos", "photos/a.jpg"], "is a file: for a folder of photographs OUTPUT must be a folder"),
        (["photos/a.jpg", "photos/a.jpg"], "is the photograph a.jpg itself"),
        (["photos", "out", "--tile-size", "20"], "rave-run: --tile-size is 20 px"),
        (["photos", "out", "--model", "empty"], "empty is not a bundle"),
        (["photos", "out", "--precision", "fp8"], "the bundle has no fp8 graphs"),
        (["photos", "out", "--format", "xcf"], "--format xcf cannot be written"),
        (["photos", "out", "--working-size", "256", "--full-resolution"], "contradict each other"),
        (
            ["photos", "out", "--memory-limit", "64", "--workers", "8"],
            "a memory limit of 64 MiB is too small",
        ),
        (["photos", "out", "--strength", "3"], "rave-run: --strength is 3"),
        (["photos", "out", "--device", "tpu"], "device 'tpu' is unknown"),
        (["photos/a.jpg", "out", "--watch"], "a.jpg is not a folder of this machine: --watch needs one"),
        (["photos", "out", "--quality", "0"], "--quality: 0 is not from 1 to 100"),
        (["photos", "out", "--memory-limit", "9"], "--memory-limit: 9 is not at least 64"),
        (["photos", "out", "--max-megapixels", "nan"], "--max-megapixels: nan is not at least 0.0001"),
        (["photos", "out", "--workers", "two"], "--workers: invalid int value: 'two'"),
        (["photos", "out", "--log", "s3://bucket/log"], "--log: s3://bucket/log is a URL"),
        (["photos", "out", "--deep\x1b[31m"], "unrecognized arguments: --deep\\x1b[31m"),
        (["photos", "out", "--modle=x"], "--modle=x; did you mean --model? (rave-run --help tells more)"),
        (["photos", "out", "--workingsize", "9"], "did you mean --working-size?"),
        (["photos", "out", "--full"], "unrecognized arguments: --full"),
        (["photos", "-", "--watch"], "--watch is for folders"),
        (["photos"], "OUTPUT"),
        (["photos/a.jpg", "a.jp2"], "asks for a format that is not written: give one of .jpg, .png, .tif,"),
        (["clip.mp4", "out.mp4", "--report", "r.html"], "are for folders, not for one film"),
        (["photos/a.jpg", "a.webp", "--format", "jpeg"], "is the name of another format than --format jpeg"),
        (["photos/a.jpg", "-", "--log", "log.jsonl"], "are for folders, not for standard input or output"),
        (["photos", "out", "--watch", "--report", "r.html"], "--report is written when a run ends"),
        (["photos", "out", "--report", "empty"], "is a folder: name the file to write"),
        (["photos", "out", "--report", "photos/a.jpg"], "has the name of a photograph"),
        (["photos", "out", "--log", "photos/a.jpg"], "has the name of a photograph"),
        (["photos/a.jpg", "a.jpg", "--skip-existing"], "--skip-existing is for folders"),
        (
            ["photos/a.jpg", "out.jpgg"],
            "out.jpgg ends in .jpgg, which no photograph's name does: name a file",
        ),
        (
            ["photos/a.jpg", "new/out.mp4"],
            "out.mp4 is the name of a film: name a file that ends in one of .jpg",
        ),
        (["cam.h264", "out.mp4"], "out.mp4 is the name of a film, and cam.h264 is not: give --film if"),
        (["photos/a.jpg", "out.xyz", "--dry-run"], "or a folder as out.xyz/"),
        (
            ["photos/a*.jpg", "file:///nowhere/out.xyz"],
            "out.xyz ends in .xyz, which no photograph's name does",
        ),
        (["missing", "out", "--log", "new/log", "--report", "new/page.html"], "missing does not exist"),
        (["missing", "out", "--log", "new/log", "--watch"], "missing is not a folder"),
        (["photos", "out", "--log", "out"], "--log and OUTPUT are one place, out"),
        (["photos", "out", "--report", "./out"], "--report and OUTPUT are one place, out"),
        (["photos", "out", "--film"], "photos is a folder, and --film is for one film: leave --film out"),
        (["photos\n\x1b[31m", "out"], "photos\\n\\x1b[31m does not exist"),
        (["photos", "out", "--working-size", "0"], "0 px: at least 32 are needed, or --full-resolution"),
        (["photos", "out", "--tile-size", "0"], "--tile-size is 0 px"),
    ],
)
def test_wrong_use_exits_2_and_writes_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = run_here(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_two_files_for_one_name_are_refused(photos: Path, tmp_path: Path) -> None:
    with Image.open(photos / "a.jpg") as image:
        image.save(photos / "a.webp")
    done = run_here(photos, tmp_path / "out", "--format", "png")
    assert done.returncode == 2
    assert "a.jpg and a.webp would both be written to" in done.stderr


def test_a_damaged_model_is_refused_once_and_not_for_each_photograph(photos: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(embedded_bundle(), bundle)
    for graph in bundle.glob("enhance_*.onnx"):
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(content)
    done = rave_run(photos, tmp_path / "out", "--model", bundle)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is not the file that was exported" in done.stderr
    assert not list((tmp_path / "out").rglob("*.jpg"))


def test_an_output_that_cannot_be_written_is_refused_before_any_work(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file" / "out", Path("/proc/out")):
        done = run_here(photos, target)
        assert done.returncode == 2
        assert done.stderr.startswith(f"rave-run: OUTPUT {target}")
        assert "cannot be written" in done.stderr
    alone = run_here(photos / "a.jpg", tmp_path / "file" / "a.jpg")
    assert alone.returncode == 2


@pytest.mark.parametrize("arguments", [["", "out"], ["photos", ""], ["photos", "out", "--model", ""]])
def test_an_empty_name_is_no_folder(arguments: list[str], photos: Path) -> None:
    done = run_here(*arguments, cwd=photos.parent)
    assert done.returncode == 2
    assert "empty: is a variable not set?" in done.stderr
    assert not (photos.parent / "a.jpg").exists()


@pytest.mark.parametrize("name", ["v1.0", "2026.11", "out.xyz/", "out.xyz/.", "there.xyz"])
def test_a_folder_may_have_a_dot_in_its_name(name: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "there.xyz").mkdir()
    done = run_here("photos/a.jpg", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name / "a.jpg").is_file()


def test_results_of_several_inputs_may_go_into_a_folder_with_any_ending(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "a.jpg", photos / "b.jpg")
    done = run_here("photos/*.jpg", "holiday.old", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "holiday.old").glob("*.jpg"))) == 2
    done = run_here(photos.as_uri(), "rem.old", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_quality_is_said_to_be_of_no_use_to_a_format_that_loses_nothing() -> None:
    with pytest.warns(UserWarning, match="--quality does not apply to PNG, which is lossless"):
        RunOptions(quality=50, format="png").check("folder")
