"""What a run shows, where nobody sees it any more, and what ends it."""

from __future__ import annotations

import errno
import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from rich.console import Console

from rave_runtime.cli import messages
from rave_train.cli.run_display import RunDisplay
from rave_train.cli.terminal import LenientConsole, errors_on_one_line
from rave_train.cli.train import _stop_on_signal
from rave_train.loop.events import Note, Step
from rave_train.loop.schedule import Position


def test_the_progress_line_keeps_steps_and_time_on_a_narrow_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    losses = {"loss": 123.4567, "guidance": 65.4321, "identity": 12.3456, "pixel": 0.123456}
    with RunDisplay(console) as display:
        display(Step(Position("enhance", round=11, total=12344), 50000, losses, 120.123))
        display(Note("a [bold]name\x1b]0;title\x07"))
    text = stream.getvalue()
    line = next(line for line in text.replace("\r", "\n").splitlines() if "12345/50000" in line)
    assert "0:00:0" in line
    assert "-:--:--" in line
    assert "enhance 12" in line
    assert "loss 120" in line
    assert r"a [bold]name\x1b]0;title\x07" in text


def test_a_file_gets_a_line_of_the_progress_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar in a file shows only when the run has ended."""
    now = 0.0
    monkeypatch.setattr("rave_train.cli.run_display.time.monotonic", lambda: now)
    stream = io.StringIO()
    with RunDisplay(Console(file=stream, width=40)) as display:
        for step in range(200):
            now = float(step)
            display(Step(Position("enhance", total=step), 5000, {"loss": 3.0, "guidance": 2.0}, 4.0))
        display(Note("a note that is longer than the forty columns of this console"))
        lines = stream.getvalue().splitlines()
    steps = [line for line in lines if "/5000" in line]
    assert steps == [f"enhance {step}/5000  loss 4  guidance 2" for step in (61, 121, 181)]
    assert "a note that is longer than the forty columns of this console" in lines


def test_an_error_before_the_first_step_has_no_bar_above_it() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="absent"), RunDisplay(Console(file=stream)):
        raise ValueError("absent is not a folder")
    assert "starting" not in stream.getvalue()


def test_what_a_machine_refuses_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    for error, words in (
        (OSError(30, "Read-only file system", "full/e"), "error: full/e: Read-only file system\n"),
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
        (OSError("a.png cannot be written"), "error: a.png cannot be written\n"),
    ):
        with pytest.raises(typer.Exit), errors_on_one_line():
            raise error
        assert capsys.readouterr().err == words


def test_a_run_whose_reader_has_gone_goes_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone, RunDisplay(LenientConsole(file=gone)) as display:
        display(Note("9 pairs matched by name"))
        display(Note("guided by an encoder"))


def test_a_reader_that_has_gone_is_known_by_windows_word_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training whose output went through a pipe ended there when the reader did."""

    class Gone(io.TextIOWrapper):
        def write(self, text: str) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

    with Gone((tmp_path / "gone").open("wb")) as gone:
        console = LenientConsole(file=gone)
        with pytest.raises(OSError, match="Invalid argument"):
            console.print("here, it is another error")
        monkeypatch.setattr(messages, "_READER_GONE", (errno.EPIPE, errno.EINVAL))
        console.print("9 pairs matched by name")
        assert console.quiet


@contextmanager
def default_action(number: int) -> Iterator[None]:
    """A signal does what it does by default, though the tests themselves may run under nohup."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_after_its_step_and_before_the_first_at_once(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    with default_action(number), _stop_on_signal(quiet=False) as should_stop:
        with pytest.raises(SystemExit, match="130"):
            signal.raise_signal(number)
        assert "interrupted before the first step" in capfd.readouterr().err
        assert not should_stop()
        signal.raise_signal(number)
        assert should_stop()
        assert "stopping after this step; once more stops at once" in capfd.readouterr().err
        signal.raise_signal(number)  # the same one, which torchrun has passed on
        later = time.monotonic() + 2
        monkeypatch.setattr("rave_train.cli.train.time.monotonic", lambda: later)
        with pytest.raises(SystemExit, match="130"):
            signal.raise_signal(number)
    with default_action(number):
        signal.signal(number, signal.SIG_IGN)  # as under nohup
        with _stop_on_signal(quiet=False) as should_stop:
            signal.raise_signal(number)
            assert not should_stop()
