"""The same run on a Ray cluster: the pipeline of one machine, in many processes.

Each actor is a process with a warm `Batch` (`rave_runtime.cluster.worker`). The driver sees to it that there
are as many as are wanted (`rave_runtime.cluster.crew`) and hands out chunks of photographs
(`rave_runtime.cluster.pool`). Only these four modules know Ray (extra `cluster`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Final

from rave_runtime.backends.devices import GPUS
from rave_runtime.backends.limits import usable_processors
from rave_runtime.backends.privacy import turn_off_reports
from rave_runtime.bundle.opening import carry_bundle
from rave_runtime.cluster.crew import Crew
from rave_runtime.cluster.pool import Pool
from rave_runtime.cluster.worker import Worker
from rave_runtime.errors import UsageError, reason_of
from rave_runtime.run.journal import Journal
from rave_runtime.run.options import RunOptions

LOCAL: Final = "local"
"""The address that starts a cluster of this machine alone."""


@contextlib.contextmanager
def open_pool(
    options: RunOptions,
    address: str,
    journal: Journal | None,
    jobs: int,
    worker: type[Worker] = Worker,
    chunk_photographs: int | None = None,
) -> Iterator[Pool]:
    """A pool of workers on a cluster.

    Args:
        options: the options of the run. `workers` is how many photographs each actor has in work at a time, 1
            unless given, and how many processors it takes; `actors` how many there are, as many as
            the cluster has room for unless given. An actor takes a GPU if `device` is one.
        address: the cluster's address, as Ray takes it, or "local". Where Ray is connected already, that
            cluster is used.
        journal: the journal of the results, kept by this process alone.
        jobs: how many photographs there are, so that no more actors are asked for.
        worker: what each actor runs.
        chunk_photographs: how many photographs an actor gets at a time; None adapts it to their time.

    Raises:
        UsageError: Ray is not installed, or the cluster is not there.
        RaveError: the model cannot be used.
    """
    turn_off_reports()
    if address == LOCAL:
        _stay_on_this_machine()
    try:
        import ray
    except ImportError as error:
        raise UsageError("--cluster needs Ray: pip install 'rave-backlit[cluster]'") from error
    ours = not ray.is_initialized()
    if ours:
        with _own_signals():
            _connect(ray, address)
    try:
        workers = options.workers or 1
        needs = {"num_cpus": workers, "num_gpus": 1 if options.device in GPUS else 0}
        resources = _resources(ray)
        room = int(resources.get("CPU", 0)) // workers
        if needs["num_gpus"]:
            room = min(room, int(resources.get("GPU", 0)))
        model = None if options.model is None else ray.put(carry_bundle(options.model))
        untyped: Any = ray
        remote_worker = untyped.remote(max_restarts=0, max_task_retries=0, **needs)(worker)
        folder = None if journal is None else journal.folder
        crew = Crew(
            ray,
            remote_worker,
            (model, options, folder, workers),
            size=min(options.actors or max(1, room), max(1, jobs)),
            workers=workers,
            device=options.device,
            precision=options.precision,
        )
        try:
            crew.start()
            yield Pool(ray, crew, workers, journal, chunk_photographs)
        finally:
            crew.stop()
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Connects Ray to the cluster at an address, or starts one on this machine."""
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address == LOCAL:
                with _without_dashboard():
                    ray.init(address=LOCAL, num_cpus=usable_processors(), include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises whatever its connection stumbled over
        raise UsageError(
            f"there is no Ray cluster at {address}: {reason_of(error)} (`ray start --head` starts one; "
            f"--cluster {LOCAL} needs none)"
        ) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps this program's way with SIGTERM, in whose place Ray puts one that aborts."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _stay_on_this_machine() -> None:
    """Has a local cluster listen on the loopback address alone and ask everybody for a token.

    Whoever reaches a cluster without a token can run any program on it. The token is made for this run and
    handed to Ray's processes in their environment; no file keeps it. Ray reads these variables when it is
    imported.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # as Ray does by itself on Windows and macOS
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def _without_dashboard() -> Iterator[None]:
    """Keeps Ray from starting its dashboard's process, which asks the cloud's metadata service where it is.

    Ray starts that process even where no dashboard is wanted, to report usage, and goes on where it fails.
    """
    from ray._private import services

    start = services.start_api_server
    services.start_api_server = lambda *_, **__: (None, None)
    try:
        yield
    finally:
        services.start_api_server = start


def _knock(address: str) -> None:
    """Fails at once where nobody listens; Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _resources(ray: Any) -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()
    return found
