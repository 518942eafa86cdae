from __future__ import annotations

import dataclasses
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime.bundle import embedded_bundle
from rave_runtime.run.memory import keep_freed_memory
from rave_runtime.run.options import RunOptions
from tests.runtime.pictures import MakePicture


def rave_run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


@pytest.fixture
def photos(tmp_path: Path, picture: MakePicture) -> Path:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(picture(50, 70)).save(folder / "a.jpg", quality=95)
    Image.fromarray(picture(70, 50)).save(folder / "deeper" / "b.png")
    (folder / "notes.txt").write_text("not a photograph")
    return folder


def test_a_folder_is_mirrored(photos: Path, tmp_path: Path) -> None:
    done = rave_run(photos, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 enhanced" in done.stdout
    written = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert written == [".rave-run.jsonl", "a.jpg", "deeper/b.png"]
    before, after = (np.asarray(Image.open(root / "deeper/b.png")) for root in (photos, tmp_path / "out"))
    assert after[50:].mean() > 1.2 * before[50:].mean()


def test_one_bad_file_does_not_stop_the_others(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:400])
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.tif").write_text("hello")
    done = rave_run(photos, tmp_path / "out")
    assert done.returncode == 1
    assert "2 of 5 enhanced" in done.stdout
    assert "3 failed" in done.stdout
    assert "failed: broken.jpg is damaged or truncated" in done.stderr
    assert "failed: empty.png is empty (0 bytes)" in done.stderr
    assert "failed: text.tif is not a picture" in done.stderr
    assert not (tmp_path / "out" / "broken.jpg").exists()
    assert not list((tmp_path / "out").rglob("*partial*"))


def test_a_single_file(photos: Path, tmp_path: Path) -> None:
    assert rave_run(photos / "a.jpg", tmp_path / "result.png", "--tile-size", 40).returncode == 0
    with Image.open(tmp_path / "result.png") as image:
        assert (image.format, image.size) == ("PNG", (70, 50))
    assert rave_run(photos / "a.jpg", tmp_path / "folder").returncode == 0
    assert (tmp_path / "folder" / "a.jpg").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing", "out"], "missing does not exist: give a photograph or a folder"),
        (["empty", "out"], "empty holds no photograph"),
        (["photos", "photos/out"], "photos/out is inside photos"),
        (["photos", "photos"], "photos is INPUT itself"),
        (["photos", "photos/a.jpg"], "is a file: for a folder of photographs OUTPUT must be a folder"),
        (["photos/a.jpg", "photos/a.jpg"], "is the photograph a.jpg itself"),
        (["photos", "out", "--tile-size", "20"], "tile_size is 20 px"),
        (["photos", "out", "--model", "empty"], "empty is not a bundle"),
        (["photos", "out", "--precision", "fp8"], "the bundle has no fp8 graphs"),
        (["photos", "out", "--format", "xcf"], "--format xcf is unknown"),
        (["photos", "out", "--working-size", "256", "--full-resolution"], "contradict each other"),
        (
            ["photos", "out", "--memory-limit", "64", "--workers", "8"],
            "a memory limit of 64 MiB is too small",
        ),
        (["photos", "out", "--strength", "3"], "strength is 3"),
        (["photos", "out", "--device", "tpu"], "device 'tpu' is unknown"),
        (["photos/a.jpg", "out", "--watch"], "is not a folder: --watch needs folders"),
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
        (["photos\n\x1b[31m", "out"], "photos\\n\\x1b[31m does not exist"),
        (["photos", "out", "--working-size", "0"], "working_size is 0 px"),
        (["photos", "out", "--tile-size", "0"], "tile_size is 0 px"),
    ],
)
def test_wrong_use_exits_2_and_writes_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = rave_run(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_resumed_run_takes_only_what_is_new(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert rave_run(photos, out).returncode == 0
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    stamp = (out / "a.jpg").stat().st_mtime_ns
    done = rave_run(photos, out, "--skip-existing")
    assert "0 of 2 enhanced" in done.stdout
    assert "2 were there already" in done.stdout
    (out / "deeper" / "b.png").unlink()
    done = rave_run(photos, out, "--skip-existing")
    assert "1 of 2 enhanced" in done.stdout
    assert (out / "a.jpg").stat().st_mtime_ns == stamp
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first
    done = rave_run(photos, out, "--skip-existing", "--strength", 0.5)
    assert "2 of 2 enhanced" in done.stdout


def test_strength_0_changes_nothing(photos: Path, tmp_path: Path) -> None:
    assert rave_run(photos / "deeper" / "b.png", tmp_path / "same.png", "--strength", 0).returncode == 0
    before, after = (Image.open(path) for path in (photos / "deeper" / "b.png", tmp_path / "same.png"))
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))


def test_options_may_stand_anywhere(photos: Path, tmp_path: Path) -> None:
    done = rave_run("--device", "cpu", photos / "a.jpg", "--strength", 0.5, tmp_path / "-odd.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "-odd.png").is_file()


def test_no_options_print_the_help() -> None:
    done = rave_run()
    assert done.returncode == 2
    assert done.stdout == rave_run("--help").stdout
    for field in dataclasses.fields(RunOptions):
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert f"[default: {field.default:g}]" in " ".join(done.stdout.split())


def test_it_starts_without_the_command_lines_of_the_others(photos: Path, tmp_path: Path) -> None:
    """To import typer and rich takes as long as all the rest of enhancing a small photograph."""
    program = """
import sys
from rave_runtime.cli import main
try:
    main()
finally:
    print(sorted({name.partition(".")[0] for name in sys.modules} & {"typer", "rich", "pydantic", "torch"}))
"""
    command = [sys.executable, "-c", program, str(photos), str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_standard_input_to_standard_output(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", "-", "-"]
    done = subprocess.run(
        command, input=(photos / "a.jpg").read_bytes(), capture_output=True, timeout=120, check=True
    )
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert (image.format, image.size) == ("JPEG", (70, 50))
    bad = subprocess.run(command, input=b"nonsense", capture_output=True, timeout=120, check=False)
    assert bad.returncode == 1
    assert b"is not a picture" in bad.stderr
    assert not bad.stdout


def test_standard_input_to_a_folder_is_an_error(photos: Path) -> None:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", "-", "."]
    with (photos / "a.jpg").open("rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be written to ." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_has_a_line_per_photograph(photos: Path, tmp_path: Path) -> None:
    (photos / "empty.png").write_bytes(b"")
    rave_run(photos, tmp_path / "out", "--log", tmp_path / "log.jsonl", "--device", "cpu")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    by_name = {line["name"]: line for line in lines}
    assert by_name["a.jpg"]["status"] == "done"
    assert (by_name["a.jpg"]["width_px"], by_name["a.jpg"]["height_px"]) == (70, 50)
    assert by_name["a.jpg"]["provider"] == "CPUExecutionProvider"
    assert by_name["empty.png"]["error"] == "is empty (0 bytes)"


def test_a_report_holds_pictures_and_failures(photos: Path, tmp_path: Path) -> None:
    (photos / "<b>.png").write_bytes(b"")
    rave_run(photos, tmp_path / "out", "--report", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_report_goes_into_a_pipe(photos: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        try:
            done = rave_run(photos, tmp_path / "out", "--report", pipe)
            page = reader.communicate(timeout=60)[0]
        finally:
            reader.kill()  # it would wait for ever where nothing was written
    assert done.returncode == 0, done.stderr
    assert page.endswith(b"</html>\n")
    assert pipe.is_fifo()


def test_the_doctor_says_what_would_be_used() -> None:
    done = rave_run("--doctor", "--device", "cpu", "--precision", "fp32")
    assert done.returncode == 0
    assert "would use: fp32 on CPUExecutionProvider, since it was asked for" in done.stdout


def test_the_doctor_says_how_to_install_every_library_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rave_runtime.enhancer import Enhancer
    from rave_runtime.run import doctor

    monkeypatch.setattr(doctor, "_version", lambda _: None)
    found = doctor.diagnose(lambda: Enhancer(device="cpu", precision="fp32"))
    extras = {"simplejpeg": "fast", "rawpy": "raw", "pylibjxl": "jxl", "av": "video", "tifffile": "deep"}
    extras |= {"pillow-heif": "heif", "imagecodecs": "deep", "openvino": "openvino", "ray": "cluster"}
    extras |= {"starlette": "serve", "fsspec": "remote", "tensorrt": "trt", "tensorrt-rtx": "rtx"}
    for library, extra in extras.items():
        assert f"\n{library}: not installed: pip install 'rave-backlit[{extra}]' (" in found


def test_it_says_its_version() -> None:
    from rave_runtime.version import __version__

    assert rave_run("--version").stdout.strip() == f"rave-run {__version__}"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_for_the_next_photograph() -> None:
    """Of a buffer of 64 MiB that was freed, another one's pages cost no faults any more."""
    program = """
import resource
import numpy as np
from rave_runtime.bundle import embedded_bundle
from rave_runtime.run.options import RunOptions
from rave_runtime.run.memory import keep_freed_memory

def faults_of_a_buffer():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 26, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
first, second = faults_of_a_buffer(), faults_of_a_buffer()
print(first, second)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert second < first / 4


def test_memory_is_left_alone_under_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    keep_freed_memory()


def test_two_files_for_one_name_are_refused(photos: Path, tmp_path: Path) -> None:
    with Image.open(photos / "a.jpg") as image:
        image.save(photos / "a.webp")
    done = rave_run(photos, tmp_path / "out", "--format", "png")
    assert done.returncode == 2
    assert "a.jpg and a.webp would both be written to" in done.stderr


def test_standard_input_becomes_what_the_name_says(photos: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from rave_runtime.cli import main; main()",
        "-",
        str(tmp_path / "o.png"),
    ]
    content = (photos / "a.jpg").read_bytes()
    subprocess.run(command, input=content, capture_output=True, timeout=120, check=True)
    with Image.open(tmp_path / "o.png") as image:
        assert image.format == "PNG"


def test_a_doctor_who_finds_a_problem_exits_1(tmp_path: Path) -> None:
    done = rave_run("--doctor", "--model", tmp_path / "none")
    assert "PROBLEM" in done.stdout
    assert done.returncode == 1


def test_an_interrupted_run_says_so(photos: Path, tmp_path: Path) -> None:
    program = """
import rave_runtime.cli.command as command
from rave_runtime.cli import main

def interrupted(*_):
    raise KeyboardInterrupt

command.run_folder = interrupted
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(photos), str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert "interrupted; finished photographs are whole" in done.stderr


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
        done = rave_run(photos, target)
        assert done.returncode == 2
        assert done.stderr.startswith(f"rave-run: OUTPUT {target}")
        assert "cannot be written" in done.stderr
    alone = rave_run(photos / "a.jpg", tmp_path / "file" / "a.jpg")
    assert alone.returncode == 2


@pytest.mark.parametrize("arguments", [["", "out"], ["photos", ""], ["photos", "out", "--model", ""]])
def test_an_empty_name_is_no_folder(arguments: list[str], photos: Path) -> None:
    done = rave_run(*arguments, cwd=photos.parent)
    assert done.returncode == 2
    assert "empty: is a variable not set?" in done.stderr
    assert not (photos.parent / "a.jpg").exists()


def test_after_two_dashes_names_may_begin_with_one(photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").rename(tmp_path / "-a.jpg")
    done = rave_run("--strength", 1, "--", "-a.jpg", "-b.jpg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "-b.jpg").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="shells close streams so")
@pytest.mark.parametrize("closed", ["input", "output"])
def test_a_closed_stream_is_said(closed: str, photos: Path) -> None:
    names = {"input": f"- {photos}/new.jpg <&-", "output": f"{photos}/a.jpg - >&-"}[closed]
    run = f'"{sys.executable}" -c "from rave_runtime.cli import main; main()" {names}'
    done = subprocess.run(run, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"rave-run: standard {closed} is closed\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_reader_that_has_gone_is_no_failure(photos: Path, tmp_path: Path) -> None:
    program = f'"{sys.executable}" -c "from rave_runtime.cli import main; main()"'
    run = f"{{ {program} {photos} {tmp_path}/out; echo $? >{tmp_path}/code; }} | true"
    subprocess.run(run, shell=True, timeout=60, check=True)
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "out" / "a.jpg").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_scheduler_that_ends_a_run_leaves_whole_files(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()"]
    command += [str(photos), str(tmp_path / "out"), "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert "done" in run.stdout.readline()
        run.terminate()
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.startswith(f"what is put into {photos} is enhanced into {tmp_path / 'out'}; Ctrl-C ends this")
    assert "interrupted; finished photographs are whole" in said


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")
def test_who_may_not_read_a_photograph_may_not_read_its_result(photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").chmod(0o400)
    (photos / "deeper" / "b.png").chmod(0o644)
    assert rave_run(photos, tmp_path / "out").returncode == 0
    modes = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("a.jpg", "deeper/b.png")]
    assert modes == [0o600, 0o644 & ~current_umask()]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")
@pytest.mark.parametrize("one", [True, False])
def test_a_new_folder_is_as_private_as_that_of_the_photographs(
    one: bool, photos: Path, tmp_path: Path
) -> None:
    photos.chmod(0o700)
    source, output = (photos / "a.jpg", tmp_path / "out" / "b.jpg") if one else (photos, tmp_path / "out")
    done = rave_run(source, output)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_log_does_not_wait_for_a_pipe_that_nobody_reads(photos: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    done = rave_run(photos, tmp_path / "out", "--log", pipe)
    assert done.returncode != 0
    assert f"{pipe}: it is a pipe that no program reads" in done.stderr
    assert pipe.is_fifo()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
