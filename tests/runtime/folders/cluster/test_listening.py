"""A cluster of this machine alone is reached by nobody else: addresses, sockets and files."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.runtime.folders.places import fill
from tests.runtime.pictures import MakePicture

pytest.importorskip("ray")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets are listed in Linux's /proc")

_LISTENING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""Linux's numbers for TCP's LISTEN, and for UDP sockets that take what comes."""


def processes_with(mark: str) -> list[Path]:
    """The folders in /proc of all processes that have inherited an environment variable."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(folder)
    return found


def listening_addresses(processes: list[Path]) -> set[str]:
    """The addresses on which these processes listen, such as "127.0.0.1"."""
    inodes = set()
    for process in processes:
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    link = os.readlink(descriptor)
                    inodes |= {link[8:-1]} if link.startswith("socket:[") else set()
    addresses = set()
    for table, state in _LISTENING.items():
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in inodes:
                words = bytes.fromhex(fields[1].partition(":")[0])
                packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                addresses.add(str(ipaddress.ip_address(packed)))
    return addresses


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def test_nothing_listens_beyond_the_loopback_and_files_are_private(
    picture: MakePicture, tmp_path: Path
) -> None:
    fill(tmp_path / "in", picture, ["a.jpg", "b.jpg", "c.jpg"])
    mark = f"RAVE_TEST_MARK={uuid.uuid4().hex}"
    known = {str(folder) for folder in Path("/tmp").glob("rave-ray-*")}
    addresses: set[str] = set()
    modes: dict[str, int] = {}
    with subprocess.Popen(
        [
            *(sys.executable, "-c", "from rave_runtime.cli import main; main()"),
            *(str(tmp_path / "in"), str(tmp_path / "out"), "--cluster", "local"),
        ],
        env=dict(os.environ, **dict([mark.split("=")])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        deadline = time.monotonic() + 120
        while run.poll() is None and time.monotonic() < deadline:
            addresses |= listening_addresses(processes_with(mark))
            for folder in Path("/tmp").glob("rave-ray-*"):
                with contextlib.suppress(OSError):
                    modes[str(folder)] = stat.S_IMODE(folder.stat().st_mode)
            time.sleep(0.02)
        out, problems = run.communicate(timeout=10)
    assert (run.returncode, problems) == (0, "")
    assert "3 of 3 enhanced" in out
    assert len(addresses) >= 1, "Ray's processes were not seen"
    assert {address for address in addresses if not is_loopback(address)} == set()
    own = {folder: mode for folder, mode in modes.items() if folder not in known}
    assert set(own.values()) == {0o700}
    assert not any(Path(folder).exists() for folder in own)
