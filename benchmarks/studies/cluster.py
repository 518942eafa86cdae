"""Measures what a Ray cluster costs and gains, and computes from that what a thousand workers would do.

    python -m benchmarks cluster --photos 200 --output benchmarks/results/studies/cluster.json

It times whole processes of `rave-run` in turns, on photographs of 12 megapixels: alone with one worker, on a
cluster with one actor, and with two, each of one thread. Alone it is limited to one processor, while the
driver of an actor may use another. Then it measures the driver's time for a chunk and for a photograph, with
workers that do nothing, and simulates a run of a thousand workers.
"""

from __future__ import annotations

import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.records.results import model_hash
from benchmarks.studies.folder_speed import make_photographs
from benchmarks.studies.reporting import report_study, study_parser
from rave_runtime.cluster.connect import open_pool
from rave_runtime.cluster.pool import CHUNK_S, MAX_CHUNK
from rave_runtime.cluster.worker import Answer, Task, Worker
from rave_runtime.files.entries import Entry
from rave_runtime.run.jobs import Job
from rave_runtime.run.journal import open_journal
from rave_runtime.run.options import RunOptions
from rave_runtime.run.results import Result

DISTINCT = 20
"""Number of different photographs; all others are links to them."""

STORE = {
    "list_names_per_s": 10_000,
    "gets_per_s_and_prefix": 5500,
    "puts_per_s_and_prefix": 3500,
    "dollars_per_million_gets": 0.40,
    "dollars_per_million_puts": 5.00,
    "seconds_per_transfer": 0.1,
}
"""An object store's published request rates and prices, and a usual time for 12 megapixels of JPEG."""


class IdleWorker(Worker):
    """A worker that reports all photographs as done at once, and writes one byte for the first of a chunk."""

    def enhance(self, tasks: list[Task]) -> list[Answer]:
        """Returns an answer for each task, with an entry for the journal."""
        first = tasks[0].job.target
        assert isinstance(first, Path)
        first.write_bytes(b"x")  # the pool checks once that it sees what a worker wrote
        return [
            Answer(Result(task.job, "done", width_px=4000, height_px=3000), Entry(task.job.name, "0" * 64, 1))
            for task in tasks
        ]


def run_program(photos: Path, output: Path, arguments: list[str]) -> float:
    """Runs a whole `rave-run` process with one worker; returns its seconds."""
    code = "from rave_runtime.cli import main; main()"
    command = [sys.executable, "-c", code, str(photos), str(output), "--workers", "1", "--device", "cpu"]
    started = time.perf_counter()
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def measure_rates(photographs: int, rounds: int, source: Path | None) -> dict[str, Any]:
    """Measures photographs per second alone, and with one and two actors on a cluster that it starts.

    Args:
        photographs: how many each run enhances.
        rounds: how often each way is run.
        source: folder of photographs to enlarge; None draws some.
    """
    import ray

    # One processor alone makes `rave-run` use one thread, since it takes as many as it may use.
    ways = {
        "alone, 1 thread": ([], {0}),
        "1 actor": (["--actors", "1"], None),
        "2 actors": (["--actors", "2"], None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as scratch:
        originals, photos = Path(scratch, "originals"), Path(scratch, "photos")
        originals.mkdir()
        photos.mkdir()
        make_photographs(originals, min(DISTINCT, photographs), source)
        files = sorted(originals.iterdir())
        for i in range(photographs):
            os.link(files[i % len(files)], photos / f"{i:04}.jpg")
        untyped: Any = ray
        context = untyped.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error"
        )
        address = context.address_info["address"]
        everything = os.sched_getaffinity(0)
        for turn in range(rounds):
            for name, (arguments, processors) in ways.items():
                output = Path(scratch, f"out-{turn}-{name.replace(' ', '-')}")
                if processors is None:
                    seconds[name].append(run_program(photos, output, ["--cluster", address, *arguments]))
                    continue
                os.sched_setaffinity(0, processors)
                seconds[name].append(run_program(photos, output, arguments))
                os.sched_setaffinity(0, everything)
        ray.shutdown()
    rates = {name: round(photographs / statistics.median(values), 3) for name, values in seconds.items()}
    return {
        "photographs_per_s": rates,
        "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "1 actor / alone": round(rates["1 actor"] / rates["alone, 1 thread"], 3),
        "2 actors / 1 actor": round(rates["2 actors"] / rates["1 actor"], 3),
    }


def measure_driver(photographs: int = 60_000) -> dict[str, float]:
    """Measures the driver's seconds for a chunk and for a photograph, and its bytes for a photograph.

    Two actors that do nothing get chunks of 1, then of `MAX_CHUNK` photographs. The time is taken to be
    linear in the size of a chunk.
    """
    tracemalloc.start()
    jobs = [Job(Path(f"/in/{i:09}.jpg"), Path(f"/out/{i:09}.jpg"), f"{i:09}.jpg") for i in range(photographs)]
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    per_photograph: dict[int, float] = {}
    for size in (1, MAX_CHUNK):
        count = 3000 if size == 1 else photographs
        with tempfile.TemporaryDirectory() as folder:
            targets = [Job(job.source, Path(folder) / job.name, job.name) for job in jobs[:count]]
            journal = open_journal(Path(folder))
            with open_pool(RunOptions(), "local", journal, 2, IdleWorker, chunk_photographs=size) as pool:
                started = time.process_time()
                assert sum(1 for _ in pool.run(targets)) == count
                per_photograph[size] = (time.process_time() - started) / count
    per_chunk = (per_photograph[1] - per_photograph[MAX_CHUNK]) / (1 - 1 / MAX_CHUNK)
    return {
        "s_per_chunk": per_chunk,
        "s_per_photograph": per_photograph[MAX_CHUNK] - per_chunk / MAX_CHUNK,
        "bytes_per_photograph": held_bytes / photographs,
    }


def play(
    workers: int, photographs: int, photo_s: float, driver: dict[str, float], shards: int = 1
) -> dict[str, float]:
    """Simulates one driver's share of a run, chunk by chunk; workers wait for the driver.

    Args:
        workers: how many workers all drivers have together.
        photographs: how many photographs all drivers have together.
        photo_s: a worker's seconds for a photograph, transfers included.
        driver: the result of `measure_driver`.
        shards: number of drivers, each with an equal share of both.

    Returns:
        "hours" of the run without listing, and the shares of time in which the driver and the workers are
        busy.
    """
    shard_workers, shard_photographs = workers // shards, photographs // shards
    chunk = max(1, min(MAX_CHUNK, int(CHUNK_S / photo_s)))
    # A run soon reaches a steady state, so a part of it is simulated and then scaled.
    simulated = min(shard_photographs, shard_workers * chunk * 40)
    service_s = driver["s_per_chunk"] + chunk * driver["s_per_photograph"]
    free_at = [0.0] * shard_workers
    heapq.heapify(free_at)
    driver_free, busy, done = 0.0, 0.0, 0
    while done < simulated:
        begun = max(heapq.heappop(free_at), driver_free - chunk * photo_s)
        # The answer waits for the driver; meanwhile the worker runs the chunk that it was given ahead.
        finished = begun + chunk * photo_s
        driver_free = max(driver_free, finished) + service_s
        busy += service_s
        heapq.heappush(free_at, finished)
        done += chunk
    total = max(driver_free, max(free_at))
    return {
        "hours": total / simulated * shard_photographs / 3600,
        "driver_busy": busy / total,
        "workers_busy": done * photo_s / (total * shard_workers),
    }


def compute(photo_s: float, driver: dict[str, float]) -> list[dict[str, Any]]:
    """Computes a run of a hundred million photographs on a thousand workers, for some numbers of drivers."""
    photographs, workers = 100_000_000, 1000
    with_transfers = photo_s + 2 * STORE["seconds_per_transfer"]
    rows = []
    for shards in (1, 4, 16):
        simulation = play(workers, photographs, with_transfers, driver, shards)
        rate = photographs / (simulation["hours"] * 3600)
        rows.append(
            {
                "drivers": shards,
                "hours": round(simulation["hours"], 1),
                "listing_hours": round(photographs / shards / STORE["list_names_per_s"] / 3600, 2),
                "photographs_per_s": round(rate),
                "driver_busy": round(simulation["driver_busy"], 3),
                "workers_busy": round(simulation["workers_busy"], 3),
                "driver_gib": round(photographs / shards * driver["bytes_per_photograph"] / 2**30, 1),
                "prefixes_needed": max(1, -(-round(rate) // int(STORE["puts_per_s_and_prefix"]))),
                "core_hours": round(simulation["hours"] * workers),
                "request_dollars": round(
                    photographs
                    / 1e6
                    * (STORE["dollars_per_million_gets"] + STORE["dollars_per_million_puts"])
                ),
            }
        )
    return rows


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("cluster", __doc__)
    parser.add_argument("--photos", type=int, default=200, help="in the folder; 200 unless given")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each; 1 unless given")
    parser.add_argument("--source", type=Path, help="folder of photographs to enlarge; noise unless given")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    rates = measure_rates(options.photos, options.rounds, options.source)
    print(json.dumps(rates), file=sys.stderr, flush=True)
    driver = measure_driver()
    photo_s = 1 / rates["photographs_per_s"]["1 actor"]
    findings = {
        "measured": rates,
        "driver": {name: float(f"{value:.3g}") for name, value in driver.items()},
        "assumed_of_the_store": STORE,
        "1000 workers, 100 million photographs": compute(photo_s, driver),
    }
    report_study("cluster", arguments, findings, options.output, model_hash())
