"""Connects to a Ray cluster and opens a pool of workers on it: one machine's pipeline in many processes.

Each actor is a process with a loaded `Batch` (`rave_runtime.cluster.worker`). This process, the driver, keeps
the number of actors (`rave_runtime.cluster.crew`) and hands out chunks of photographs
(`rave_runtime.cluster.pool`). Only these four modules use Ray (extra `cluster`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
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
"""The address that starts a cluster on this machine alone."""


@contextlib.contextmanager
def open_pool(
    options: RunOptions,
    address: str,
    journal: Journal | None,
    jobs: int,
    worker: type[Worker] = Worker,
    chunk_photographs: int | None = None,
) -> Iterator[Pool]:
    """Opens a pool of workers on a cluster; afterwards its workers are ended.

    Args:
        options: the options of the run. `workers` is the number of photographs that each actor has in work
            at a time, and of processors that it takes, by default 1. `actors` is the number of actors, by
            default as many as the cluster has room for. An actor takes a GPU if `device` is one.
        address: the cluster's address, as Ray takes it, or "local". Where Ray is connected already, that
            cluster is used.
        journal: the journal of the results, which only this process writes.
        jobs: the number of photographs; no more actors than that are started.
        worker: the class that each actor runs.
        chunk_photographs: how many photographs an actor gets at a time; None adapts it to their time.

    Raises:
        UsageError: Ray is not installed, or the cluster cannot be reached.
        RaveError: the model cannot be used.
    """
    turn_off_reports()
    if address == LOCAL:
        _stay_on_this_machine()
    try:
        import ray
    except ImportError as error:
        raise UsageError("--cluster needs Ray: pip install 'rave-backlit[cluster]'") from error
    with _connected(ray, address):
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


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Connects Ray to a cluster, unless it is connected, and disconnects it afterwards."""
    if ray.is_initialized():
        yield
        return
    with _private_folder() if address == LOCAL else contextlib.nullcontext() as folder:
        with _own_signals():
            _connect(ray, address, folder)
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """Yields a folder for Ray's sockets and logs that only this user can enter, and removes it afterwards.

    In the folders that Ray would choose, every user of the machine may connect to its sockets and replace its
    files. The names of sockets must be short, so the folder lies directly in the one for temporary files.
    """
    folder = tempfile.mkdtemp(prefix="rave-ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
    try:
        yield os.path.join(folder, "r")  # Ray opens the folder that it is given to all users
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _connect(ray: Any, address: str, folder: str | None) -> None:
    """Connects Ray to the cluster at an address, or starts one on this machine, with files in a folder."""
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address == LOCAL:
                with _without_dashboard():
                    ray.init(
                        address=LOCAL,
                        num_cpus=usable_processors(),
                        include_dashboard=False,
                        _temp_dir=folder,
                        **quiet,
                    )
            else:
                ray.init(address=address, **quiet)
    except Exception as error:  # Ray's errors have no base class in common
        raise UsageError(
            f"there is no Ray cluster at {address}: {reason_of(error)} (`ray start --head` starts one; "
            f"--cluster {LOCAL} needs none)"
        ) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Restores this program's handler of SIGTERM, which Ray replaces by one that aborts the process."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _stay_on_this_machine() -> None:
    """Makes a local cluster listen on the loopback address alone and require a token.

    Anybody who can reach a cluster without a token can run any program on it. The token is made for this run
    and passed to Ray's processes in their environment; it is not stored in a file. Ray reads these variables
    when it is imported.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback only, Ray's default on Windows and macOS
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def _without_dashboard() -> Iterator[None]:
    """Keeps Ray from starting its dashboard's process, which asks the cloud's metadata service where it is.

    Ray starts that process even with `include_dashboard=False`, to report usage, and goes on if it fails.
    """
    from ray._private import services

    start = services.start_api_server
    services.start_api_server = lambda *_, **__: (None, None)
    try:
        yield
    finally:
        services.start_api_server = start


def _knock(address: str) -> None:
    """Fails at once where no program listens at the address; Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _resources(ray: Any) -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()
    return resources
