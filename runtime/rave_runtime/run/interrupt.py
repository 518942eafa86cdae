"""Signals that end a run: after the first it finishes the step in work, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from rave_runtime.files.partials import remove_own_partials

EXIT_INTERRUPTED: Final = 130
"""Exit code of an interrupted run, the one that shells use for Ctrl-C."""

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals of Ctrl-C, of job schedulers, of a terminal that is closed, and of Ctrl-Break on Windows."""

_FIRST: Final = (
    b"rave-run: stopping when the step in work is finished; the same signal (Ctrl-C) again ends it at once\n"
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
    """Delays an interrupt of `heed_signals` to the end of the block.

    Raised while a thread pool takes or releases a lock, the interrupt would leave the lock taken for ever,
    and the threads that wait for it would never end. The block must be short and wait for nothing. Outside
    the main thread, and where `heed_signals` was not called, there is no effect.

    Raises:
        KeyboardInterrupt: a signal came during the block; raised at its end.
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
    """Makes the first signal raise KeyboardInterrupt in the main thread, and a second one end the process.

    A separate thread announces both on standard error at once, since the main thread may be busy in a
    library for long. Signals that the process was started to ignore, as by `nohup`, stay ignored.
    """
    watcher = _Watcher()
    for number in heeded_signals():
        signal.signal(number, watcher.on_signal)
    watcher.start()


def heeded_signals() -> list[int]:
    """The numbers of the signals that end a run, as far as this system has them and does not ignore them."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


def was_interrupted() -> bool:
    """Tells whether a signal of `heed_signals` has come."""
    return _section.has_signal


class _Watcher:
    """Counts signals in a separate thread where one can be started, otherwise in the main thread."""

    def __init__(self) -> None:
        self._announced_count = 0  # signals announced on standard error
        self._handled_count = 0  # signals that the main thread has handled
        self._lock = threading.RLock()
        self._has_raised = False

    def start(self) -> None:
        """Starts the thread that is told of signals while the main thread is busy.

        It is told by sockets, since Windows writes signals into nothing else. There the main thread does not
        hear Ctrl-C for as long as it waits for another thread.
        """
        # RuntimeError: no further thread can be started. OSError: a firewall forbids even such sockets.
        with contextlib.suppress(RuntimeError, OSError):
            reading, writing = socket.socketpair()
            writing.setblocking(False)
            threading.Thread(target=self._read, args=(reading,), name="rave-signals", daemon=True).start()
            signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal in the main thread, where Python calls it between two instructions.

        Raises:
            KeyboardInterrupt: it is the first signal, and no `deferred_interrupt` block is entered.
        """
        del number, frame
        self._handled_count += 1
        _section.has_signal = True
        self._tell(self._handled_count)
        if self._has_raised:
            return
        self._has_raised = True
        if _section.is_entered:
            _section.was_interrupted = True
            return
        raise KeyboardInterrupt

    def _read(self, reading: socket.socket) -> None:
        numbers = {getattr(signal, name, None) for name in _NAMES}
        received = 0
        while arrived := reading.recv(64):
            for number in arrived:
                if number in numbers:
                    received += 1
                    self._tell(received)

    def _tell(self, count: int) -> None:
        """Announces the signal of that count, unless the other thread has done so."""
        with self._lock:
            if count <= self._announced_count:
                return
            self._announced_count = count
            with contextlib.suppress(OSError):  # nobody may be there to read it
                os.write(2, _FIRST if count == 1 else _SECOND)
        if count > 1:
            remove_own_partials()
            for process in descendants():
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            remove_own_partials()  # threads may have made further ones meanwhile
            os._exit(EXIT_INTERRUPTED)


def descendants() -> list[int]:
    """Returns the ids of all processes below this one, as far as `/proc` lists them."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    processes: list[int] = []
    to_visit = [os.getpid()]
    while to_visit:
        started = children.get(to_visit.pop(), [])
        processes += started
        to_visit += started
    return processes
