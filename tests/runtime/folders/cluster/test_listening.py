"""A cluster of this machine alone does the work, and nobody else reaches it: addresses, sockets and files."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import stat
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.runtime.folders.places import fill
from tests.runtime.pictures import MakePicture

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

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


@dataclass(frozen=True)
class Seen:
    """What a run left, and what was seen of it while it worked."""

    output: Path
    exit_code: int
    out: str
    problems: str
    addresses: set[str]
    folders: dict[str, int]


@pytest.fixture(scope="module")
def run(picture: MakePicture, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One start of a cluster, of which several things are asked."""
    folder = tmp_path_factory.mktemp("local")
    fill(folder / "in", picture, ["a.jpg", "b.jpg", "c.jpg"])
    mark = f"RAVE_TEST_MARK={uuid.uuid4().hex}"
    known = {str(folder) for folder in Path("/tmp").glob("rave-ray-*")}
    addresses: set[str] = set()
    modes: dict[str, int] = {}
    with subprocess.Popen(
        [
            *(sys.executable, "-c", "from rave_runtime.cli import main; main()"),
            *(str(folder / "in"), str(folder / "out"), "--cluster", "local"),
        ],
        env=dict(os.environ, **dict([mark.split("=")])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        deadline = time.monotonic() + 120
        while program.poll() is None and time.monotonic() < deadline:
            if sys.platform == "linux":
                addresses |= listening_addresses(processes_with(mark))
            for place in Path("/tmp").glob("rave-ray-*"):
                with contextlib.suppress(OSError):
                    modes[str(place)] = stat.S_IMODE(place.stat().st_mode)
            time.sleep(0.05)
        out, problems = program.communicate(timeout=10)
    own = {place: mode for place, mode in modes.items() if place not in known}
    return Seen(folder / "out", program.returncode, out, problems, addresses, own)


def test_a_local_cluster_is_started_and_ended(run: Seen) -> None:
    assert (run.exit_code, run.problems) == (0, "")
    assert "3 of 3 enhanced" in run.out
    with Image.open(run.output / "a.jpg") as image:
        assert image.size == (64, 48)


@pytest.mark.skipif(sys.platform != "linux", reason="sockets are listed in Linux's /proc")
def test_nothing_listens_beyond_the_loopback_and_files_are_private(run: Seen) -> None:
    assert len(run.addresses) >= 1, "Ray's processes were not seen"
    assert {address for address in run.addresses if not is_loopback(address)} == set()
    assert set(run.folders.values()) == {0o700}
    assert not any(Path(folder).exists() for folder in run.folders)
