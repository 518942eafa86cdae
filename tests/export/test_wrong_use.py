"""What rave-export refuses before any work, and that it says what to do."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from rave_export.errors import InputError
from rave_export.graphs.split import check_opset
from tests.export.conftest import Run


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give a CHECKPOINT and --output BUNDLE, or --verify BUNDLE"),
        (["{pth}"], 2, "give a CHECKPOINT and --output BUNDLE"),
        (
            ["{pth}", "-o", "{new}", "--padding", "mirror"],
            2,
            "--padding: invalid choice: 'mirror' (choose from",
        ),
        (
            ["{pth}", "-o", "{new}", "--trt-hardware", "all"],
            2,
            "--trt-hardware: invalid choice: 'all' (choose from",
        ),
        (["{pth}", "-o", "{new}", "--calibration", "{old}"], 2, "--calibration is an option of --int8"),
        (["{pth}", "-o", "{new}", "--images", "{old}"], 2, "--images can be given with --verify BUNDLE only"),
        (
            ["{pth}", "-o", "{new}", "--verify", "{old}"],
            2,
            "--verify only checks a bundle: remove CHECKPOINT, --output",
        ),
        (["--verify", "{old}", "--fp16"], 2, "--verify only checks a bundle: remove --fp16"),
        (["{pth}", "-o", "{new}", "--int8-every-layer"], 2, "--int8-every-layer is an option of --int8"),
        (["{pth}", "-o", "{new}", "--int8-target", "50"], 2, "--int8-target is an option of --int8"),
        (
            ["{pth}", "-o", "{new}", "--int8", "--int8-every-layer", "--int8-target", "50"],
            2,
            "give one of them",
        ),
        (["--verify", "{old}", "--int8-target", "50"], 2, "a bundle: remove --int8-target"),
        (["{good}", "-o", "{new}", "--trt-tile", "256"], 2, "--trt-tile is an option of --trt and --trt-rtx"),
        (["{good}", "-o", "{new}", "--trt-batch", "8"], 2, "--trt-batch is an option of --trt and --trt-rtx"),
        (
            ["{good}", "-o", "{new}", "--trt-rtx", "--trt-hardware", "ampere_plus"],
            2,
            "--trt-hardware is an option of --trt: give --trt as well, or leave it out",
        ),
        (["{good}", "-o", "{new}", "--trt-any-version"], 2, "--trt-any-version is an option of --trt:"),
        (["{good}", "-o", "{new}", "--trt-rtx", "--trt-tile", "63"], 2, "tiles of at least 64 px"),
        (
            ["{good}", "-o", "{old}", "--int8", "--calibration", "{old}/photos", "--force"],
            2,
            "--calibration lies in --output, which --force replaces: move it elsewhere first",
        ),
        (
            ["{good}", "-o", "{new}", "--web", "{web}", "--web-runtime", "{none}"],
            2,
            "none cannot be read: No",
        ),
        (["{pth}", "-o", "{new}", "--triton", "{new}"], 2, "--output and --triton are one folder"),
        (["{pth}", "-o", "{new}"], 2, "is a checkpoint of another network"),
        (["{new}", "-o", "{new}"], 2, "does not exist: a checkpoint"),
        (["{good}", "-o", "{old}"], 2, "exists: choose another output folder, or give --force"),
        (["{good}", "-o", "{link}", "--force"], 2, "is a link: name the folder itself"),
        (["--verify", "{old}", "--working-size", "64"], 2, "a bundle: remove --working-size"),
        (["--verify", "{old}", "--padding", "zeros"], 2, "--padding with --verify belongs to --reference"),
        (["{good}", "-o", "{new}", "--working-size", "20"], 2, "32 to 65536 are possible, or 0 for full"),
        (["{good}", "-o", "{new}", "--working-size", "100000"], 2, "--working-size is 100000 px: 32 to"),
        (["{good}", "-o", "{new}", "--working-size", "-5"], 2, "--working-size is -5 px: 32 to"),
        (["{pth}", "-o", "{new}", "--int8", "--int8-target", "nan"], 2, "--int8-target"),
        (["{good}", "-o", "{new}", "--triton", "{old}"], 2, "exists: choose another output folder"),
        (["{good}", "-o", "{new}", "--opset", "12"], 2, "opset 12 is too low for these graphs"),
        (["{good}", "-o", "{new}", "--opset", "99"], 2, "opset 99 is too new for the installed onnx: give"),
        (["{good}", "-o", "{new}", "--int8", "--calibration", "{old}"], 2, "such as .jpg, .png, .tif"),
        (["--verify", "{old}"], 2, "is not a bundle, which is a folder with a manifest.json"),
    ],
)
def test_errors_say_what_to_do(
    run: Run, arguments: list[str], code: int, words: str, checkpoint_file: Path, tmp_path: Path
) -> None:
    torch.save({"backbone.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "old").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    names = {
        "link": tmp_path / "link",
        "pth": tmp_path / "other.pth",
        "good": checkpoint_file,
        "old": tmp_path / "old",
        "new": tmp_path / "new",
        "web": tmp_path / "web",
        "none": tmp_path / "none",
    }
    done = run(*(argument.format(**names) for argument in arguments))
    assert (done.exit_code, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "old").iterdir()) == []


def test_a_page_of_a_model_at_full_size_is_refused_before_the_work(
    run: Run, checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle was written first, so that the next try needed --force."""
    monkeypatch.setattr("rave_export.export_command.read_package", lambda archive: b"")
    done = run(checkpoint_file, "-o", tmp_path / "new", "--web", tmp_path / "web", "--working-size", 0)
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "rave-export: --web estimates the light on a reduced picture, this model at full size: "
        "give --working-size as well"
    ]
    assert list(tmp_path.iterdir()) == []


def test_an_opset_that_onnxruntime_does_not_run_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    check_opset(18)
    newest = onnx.defs.onnx_opset_version()
    monkeypatch.setattr("onnx.defs.onnx_opset_version", lambda: newest + 50)
    with pytest.raises(InputError, match="is too new for the installed onnxruntime: give a lower one, 18"):
        check_opset(newest + 50)


def test_postscript_that_is_named_like_a_photograph_runs_no_interpreter(
    run: Run, checkpoint_file: Path, tmp_path: Path
) -> None:
    """Pillow opens such a file by starting Ghostscript, unless it is told which formats may be opened."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    )
    done = run(checkpoint_file, "-o", tmp_path / "new", "--int8", "--calibration", tmp_path / "photos")
    assert done.exit_code == 2
    assert "a.jpg" in done.stderr
    assert not (tmp_path / "new").exists()
