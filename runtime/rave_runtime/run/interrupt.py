"""Signals that end a run: after the first it finishes the tile in work, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from rave_runtime.files.atomic import remove_own_partials

EXIT_INTERRUPTED: Final = 130
"""Exit code of an interrupted run, as shells have it for Ctrl-C."""

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Ctrl-C; what job schedulers send; a terminal that is closed; Ctrl-Break on Windows."""

_FIRST: Final = (
    b"rave-run: stopping when the tile in work is finished; the same signal (Ctrl-C) again ends it at once\n"
)
_SECOND: Final = b"rave-run: ended at once; finished photographs are whole, --skip-existing resumes\n"


class _Section:
    """The part of the main thread's work, if any, in which no interrupt may be raised."""

    is_entered = False
    was_interrupted = False
    has_signal = False


_section = _Section()


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Has an interrupt of `heed_signals` raised at the end of a section instead of inside it.

    Raised inside a lock's own code, as those of thread pools are, it would leave the lock taken for ever, and
    the threads that wait for it would never end. A section must be short and wait for nothing. For the main
    thread only; elsewhere, and where nobody heeds signals, it has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _section.is_entered = True
    try:
        yield
    finally:
        _section.is_entered = False
    if _section.was_interrupted:
        _section.was_interrupted = False
        raise KeyboardInterrupt


def heed_signals() -> None:
    """Has the first signal raise KeyboardInterrupt in the main thread, and a second one end the process.

    Both are said on standard error when they come, by a thread that waits for nothing else: the main
    thread may be busy in a library for long. Signals that the caller has the process ignore, as `nohup` does,
    stay ignored.
    """
    watcher = _Watcher()
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, watcher.on_signal)
    watcher.start()


def was_interrupted() -> bool:
    """Tells whether a signal of `heed_signals` has come."""
    return _section.has_signal


class _Watcher:
    """Counts signals: by a thread where one is to be had, otherwise by the main thread itself."""

    def __init__(self) -> None:
        self._told = 0  # signals that were said
        self._handled = 0  # by the main thread
        self._telling = threading.RLock()
        self._raised = False

    def start(self) -> None:
        """Starts the thread that is told of signals while the main thread is busy."""
        if os.name != "posix":  # elsewhere such descriptors are sockets only
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(RuntimeError):  # no thread is to be had
            threading.Thread(target=self._read, args=(reading,), name="rave-signals", daemon=True).start()
            signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Python's handler, which runs in the main thread when that comes to it."""
        del number, frame
        self._handled += 1
        _section.has_signal = True
        self._tell(self._handled)
        if self._raised:
            return
        self._raised = True
        if _section.is_entered:
            _section.was_interrupted = True
            return
        raise KeyboardInterrupt

    def _read(self, reading: int) -> None:
        known = {getattr(signal, name, None) for name in _NAMES}
        received = 0
        while True:
            for number in os.read(reading, 64):
                if number in known:
                    received += 1
                    self._tell(received)

    def _tell(self, count: int) -> None:
        """Says the signal of that number, unless the other thread was faster."""
        with self._telling:
            if count <= self._told:
                return
            self._told = count
            with contextlib.suppress(OSError):  # nobody may be there to read it
                os.write(2, _FIRST if count == 1 else _SECOND)
        if count > 1:
            remove_own_partials()
            for process in descendants():
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            os._exit(EXIT_INTERRUPTED)


def descendants() -> list[int]:
    """Processes that this one started, and those that they started, as far as the system tells."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    ahead = [os.getpid()]
    while ahead:
        started = children.get(ahead.pop(), [])
        found += started
        ahead += started
    return found
