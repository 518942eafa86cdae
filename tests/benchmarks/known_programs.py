"""Programs whose time and memory are known beforehand. Each gives what is to be timed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def sleep(seconds: float, first: float | None = None) -> Callable[[], None]:
    pauses = [] if first is None else [first]
    return lambda: time.sleep(pauses.pop() if pauses else seconds)


def wait_for_child(seconds: float, file: str) -> Callable[[], None]:
    def run() -> None:
        child = subprocess.Popen(["sleep", str(seconds)])
        Path(file).write_text(str(child.pid))
        child.wait()

    return run


def allocate(mib: int) -> Callable[[], None]:
    def run() -> None:
        block = bytearray(mib * 2**20)
        block[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(block[:: os.sysconf("SC_PAGE_SIZE")])
        time.sleep(0.1)

    return run


def grow(step_mib: int) -> Callable[[], None]:
    held: list[bytearray] = []

    def run() -> None:
        while True:
            held.append(bytearray(b"x" * (step_mib * 2**20)))
            time.sleep(0.02)

    return run


def allocate_on_gpu(mib: int) -> Callable[[], object]:
    import torch

    held = [torch.empty(mib * 2**20, dtype=torch.uint8, device="cuda")]
    return lambda: held[0].fill_(1).sum().item()


def shout(text: str) -> Callable[[], None]:
    return lambda: print(text)


def fail(words: str, kind: str = "RuntimeError", at_once: bool = False) -> Callable[[], None]:
    error = {"RuntimeError": RuntimeError, "MemoryError": MemoryError}[kind](words)

    def run() -> None:
        raise error

    if at_once:
        run()
    return run


def die(code: int) -> Callable[[], None]:
    return lambda: os._exit(code)
