"""A run that is interrupted says so at once, leaves nothing half done, and can be made to end now."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.backends.stopping import StoppedError
from rave_runtime.run.batch import Batch
from rave_runtime.run.interrupt import EXIT_INTERRUPTED, descendants
from rave_runtime.run.jobs import plan_jobs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
SLOW = ["--full-resolution", "--device", "cpu", "--precision", "fp32", "--tile-size", "96"]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs that take minutes at full resolution."""
    folder = tmp_path_factory.mktemp("large")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((6000, 4000))
    for name in ("a.jpg", "b.jpg"):
        picture.save(folder / name)
    return folder


def default_signals() -> None:
    """Heeds signals in the process to be: who starts these tests in the background has some ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a run and waits until its photographs are in work."""
    started = []

    def run(*arguments: object, ready: str = "") -> subprocess.Popen[str]:
        code = (
            "import os, rave_runtime.light.tiled as tiled\n"
            "real = tiled.pool_image\n"
            "def pool(*given, **options):\n"
            "    os.write(2, b'in work\\n')\n"
            "    return real(*given, **options)\n"
            "tiled.pool_image = pool\n"
            "from rave_runtime.cli import main; main()"
        )
        command = [sys.executable, "-c", code, *map(str, arguments)]
        process = subprocess.Popen(
            command,
            preexec_fn=default_signals,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        started.append(process)
        assert process.stderr is not None
        assert process.stderr.readline() == "in work\n"
        time.sleep(0.3)
        return process

    yield run
    for process in started:
        with process:
            process.kill()


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_ends_after_the_tile_and_says_so(
    name: str, large: Path, tmp_path: Path, start: Start
) -> None:
    process = start(large, tmp_path / "out", *SLOW)
    sent = time.monotonic()
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED
    assert time.monotonic() - sent < 10, "a tile takes a fraction of a second, a photograph half a minute"
    assert (
        "stopping when the step in work is finished; the same signal (Ctrl-C) again ends it at once" in said
    )
    assert "interrupted; finished photographs are whole, --skip-existing resumes" in said
    assert files(tmp_path / "out") == []


def test_the_second_signal_ends_at_once(large: Path, tmp_path: Path, start: Start) -> None:
    process = start(large, tmp_path / "out", *SLOW)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    _, said = process.communicate(timeout=10)
    # Where the second one comes when Python has ended already, the system ends the process.
    assert process.returncode in (EXIT_INTERRUPTED, -signal.SIGTERM)
    assert "stopping when the step" in said
    assert files(tmp_path / "out") == []


def test_a_library_that_never_returns_is_ended_by_the_second_signal() -> None:
    code = (
        "import sys, time; from rave_runtime.run.interrupt import heed_signals; heed_signals()\n"
        "while True:\n"
        "    try: print('ready', flush=True); time.sleep(60)\n"
        "    except KeyboardInterrupt: pass\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_signals,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == EXIT_INTERRUPTED
    assert said.count("rave-run: ") == 2


def test_what_nohup_ignores_stays_ignored() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from rave_runtime.run.interrupt import heed_signals; heed_signals()\n"
        "os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "goes on\n"
    assert done.stderr == ""


def test_a_batch_that_is_left_stops_between_tiles(
    picture_file: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    batch = Batch(enhancer)
    results = batch.run(plan_jobs(picture_file, tmp_path / "out.jpg"))
    next(results)
    results.close()
    with pytest.raises(StoppedError):
        batch._enhancer.illumination(np.zeros((32, 32, 3), np.uint8))
    assert enhancer.illumination(np.zeros((32, 32, 3), np.uint8)).shape == (32, 32), "other users of it go on"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not tell")
def test_processes_of_processes_are_known() -> None:
    inner = "import time; print(1, flush=True); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=default_signals) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = descendants()
        assert process.pid in found
        (child,) = [number for number in found if parent_of(number) == process.pid]
        os.kill(child, signal.SIGKILL)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
        return None

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from {package} import main
main()
"""


@pytest.mark.parametrize(
    "module",
    ["typing", "argparse", "rave_runtime.run.interrupt", "numpy", "numpy._core.multiarray", "PIL.Image"],
)
def test_an_interrupt_during_imports_is_no_traceback(module: str, tmp_path: Path) -> None:
    """numpy made an ImportError of it."""
    photo = Path(__file__).parents[3] / "examples" / "forest.jpg"
    code = INTERRUPTED_IMPORT.format(module=module, package="rave_runtime.cli")
    done = subprocess.run(
        [sys.executable, "-c", code, photo, tmp_path / "a.jpg"], capture_output=True, text=True
    )
    assert done.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "rave-run: interrupted; finished photographs are whole, --skip-existing resumes"
    assert files(tmp_path) == []


def test_an_interrupt_during_imports_of_training_is_no_traceback() -> None:
    pytest.importorskip("typer", reason="the extra `train` is not installed")
    code = INTERRUPTED_IMPORT.format(module="typer", package="rave_train.__main__")
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "rave-train: interrupted before it began\n")


def test_the_thread_that_is_told_of_signals_listens_to_a_socket() -> None:
    """On Windows, signals are written into nothing else: Ctrl-C was heard when the photograph was done."""
    code = (
        "import os, signal, stat\n"
        "from rave_runtime.run.interrupt import heed_signals\n"
        "heed_signals()\n"
        "print(stat.S_ISSOCK(os.fstat(signal.set_wakeup_fd(-1)).st_mode))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
