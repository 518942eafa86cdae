"""Measures what `rave-serve` does under more load than it can take, on loopback.

    python -m benchmarks serve [--seconds 120] [--clients 32] [--memory-limit 1024] [--output FILE.json]

Clients send JPEGs of 2 and 12 megapixels as fast as they get answers, and try again when an answer asks for
it (429 and Retry-After). Every answer is compared with the bytes that `rave-run` writes. Meanwhile another
process requests `/healthz` up to twenty times a second, and the resident memory of the service is recorded.
`rave-run` enhances the same photographs before and after, and throughput is compared with the mean of both.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.records.results import model_hash
from benchmarks.studies.folder_speed import QUALITY, make_photographs, run_rave
from benchmarks.studies.reporting import report_study, study_parser

DISTINCT = 4
"""Number of different photographs of each size."""


_PROBE = """
import http.client, json, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
took, end = [], time.monotonic() + seconds
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
while time.monotonic() < end:
    started = time.perf_counter()
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    answer.read()
    took.append((time.perf_counter() - started) * 1000 if answer.status == 200 else 1e9)
    time.sleep(0.05)
print(json.dumps(took))
"""


def make_inputs(folder: Path) -> None:
    """Writes the photographs: those of 12 megapixels, and smaller copies."""
    make_photographs(folder, DISTINCT, None)
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            image.resize((1600, 1200), Image.Resampling.LANCZOS).save(
                path.with_name(f"small-{path.name}"), quality=QUALITY
            )


def measure_rave_run(photos: Path, scratch: Path, copies: int, arguments: list[str]) -> float:
    """Runs a whole `rave-run` process on copies of each photograph; returns photographs per second."""
    folder = scratch / "many"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, number in itertools.product(photos.iterdir(), range(copies)):
        os.link(path, folder / f"{number:03}-{path.name}")
    return copies * 2 * DISTINCT / run_rave(folder, Path(tempfile.mkdtemp(dir=scratch)), arguments)


class Service:
    """A `rave-serve` process on a free port, started and ready.

    Args:
        arguments: its options.
    """

    def __init__(self, arguments: list[str]) -> None:
        command = [sys.executable, "-c", "from rave_runtime.serve.cli import main; main()", "--port", "0"]
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--no-log", *arguments], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        found = re.search(r":(\d+)/ ", self._process.stderr.readline())
        assert found is not None
        self.port = int(found[1])
        while self.ask("GET", "/readyz")[0] != 200:
            time.sleep(0.01)
        self.start_s = time.perf_counter() - started

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        """Sends a request; returns status, headers by lower-case name, and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def resident_mib(self) -> float:
        """Resident memory of the process now, in MiB."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def end(self) -> float:
        """Ends the process by SIGTERM; returns the seconds that this took."""
        started = time.perf_counter()
        self._process.terminate()
        self._process.communicate(timeout=60)
        return time.perf_counter() - started


def load(
    service: Service, inputs: list[tuple[bytes, bytes]], clients: int, seconds: float
) -> tuple[Counter[str], float]:
    """Sends photographs from many clients at a time.

    Args:
        service: the service to put under load.
        inputs: pairs of a photograph and the right result.
        clients: how many clients there are.
        seconds: how long they send requests; answers to the last ones are waited for.

    Returns:
        Counts of the outcomes "right", "wrong", "refused" and others by name, and the seconds in all.
    """
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    turns = itertools.cycle(inputs)
    started = time.monotonic()

    def run_client() -> None:
        """Asks the service again and again until the time is up, and counts the outcomes."""
        while time.monotonic() - started < seconds:
            with lock:
                photo, expected = next(turns)
            pause = 0.0
            try:
                status, headers, body = service.ask("POST", "/enhance", photo)
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
            else:
                outcome = "right" if body == expected else "wrong"
                if status == 429:
                    is_clean = json.loads(body)["status"] == 429 and "retry-after" in headers
                    outcome = "refused" if is_clean else "refused without a reason"
                    pause = float(headers.get("retry-after", 1))
                elif status != 200:
                    outcome = f"status {status}"
            with lock:
                counts[outcome] += 1
            time.sleep(pause)

    threads = [threading.Thread(target=run_client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts, time.monotonic() - started


def watch_memory(service: Service, samples: list[tuple[float, float]], over: threading.Event) -> None:
    """Appends seconds and resident MiB of the service to the samples, four times a second until `over`."""
    started = time.monotonic()
    while not over.wait(0.25):
        samples.append((time.monotonic() - started, service.resident_mib()))


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("serve", __doc__)
    parser.add_argument("--seconds", type=float, default=120, help="of load; 120 unless given")
    parser.add_argument("--clients", type=int, default=32, help="that send at a time; 32 unless given")
    parser.add_argument("--memory-limit", type=int, default=1024, help="MiB for photographs")
    parser.add_argument("--device", default="cpu", help="as in rave-serve; cpu unless given")
    parser.add_argument("--copies", type=int, default=8, help="copies of each photograph, for rave-run")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    shared = ["--device", options.device, "--memory-limit", str(options.memory_limit)]
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        photos = scratch / "photos"
        photos.mkdir()
        make_inputs(photos)
        run_rave(photos, scratch / "expected", shared)
        inputs = [
            (path.read_bytes(), (scratch / "expected" / path.name).read_bytes())
            for path in sorted(photos.iterdir(), key=lambda path: path.name[-7:])
        ]
        speeds = [measure_rave_run(photos, scratch, options.copies, shared)]
        service = Service(shared)
        load(service, inputs, 2, 5)  # warms up, so that work done only once is not measured
        memory: list[tuple[float, float]] = []
        over = threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(service, memory, over))
        watcher.start()
        probe = subprocess.Popen(
            [sys.executable, "-c", _PROBE, str(service.port), str(options.seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        counts, seconds = load(service, inputs, options.clients, options.seconds)
        health_ms: list[float] = json.loads(probe.communicate()[0])
        over.set()
        watcher.join()
        ended_s = service.end()
        speeds.append(measure_rave_run(photos, scratch, options.copies, shared))
    findings = summarise(counts, seconds, health_ms, memory, speeds)
    findings |= {"memory_limit_mib": options.memory_limit, "start_to_ready_s": round(service.start_s, 2)}
    report_study(
        "serve", arguments, findings | {"sigterm_to_end_s": round(ended_s, 2)}, options.output, model_hash()
    )


def summarise(
    counts: Counter[str],
    seconds: float,
    health_ms: list[float],
    memory: list[tuple[float, float]],
    speeds: list[float],
) -> dict[str, Any]:
    """The findings: counts of answers, throughput, latency of `/healthz`, and memory."""
    half = memory[-1][0] / 2
    ordered = sorted(health_ms)
    per_s = counts["right"] / seconds
    return {
        "answers": dict(sorted(counts.items())),
        "photographs_per_s": round(per_s, 2),
        "rave_run_photographs_per_s": [round(speed, 2) for speed in speeds],
        "share_of_rave_run": round(per_s / statistics.mean(speeds), 2),
        "healthz_ms": {
            "median": round(statistics.median(ordered), 2),
            "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
            "max": round(ordered[-1], 2),
        },
        "resident_mib": {
            "max": round(max(mib for _, mib in memory)),
            "mean_of_first_half": round(statistics.mean(mib for at, mib in memory if at <= half)),
            "mean_of_second_half": round(statistics.mean(mib for at, mib in memory if at > half)),
        },
    }
