"""Starts the actors of a cluster on its machines, prepares, replaces and ends them.

The first actor that is ready decides the device and precision of all: results must not depend on the machine
that made them.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Final

from rave_runtime.backends.devices import Setup
from rave_runtime.cluster.worker import Program
from rave_runtime.errors import DeviceError, RaveError, UsageError, reason_of
from rave_runtime.run.jobs import Job
from rave_runtime.version import __version__

_PLACEMENT_TIMEOUT_S: Final = 120.0
"""The longest time for which the cluster may have no room for any worker."""

_RESTART_PAUSE_S: Final = 5.0
"""The pause between attempts to replace a worker that could not start."""


@dataclass
class Chunk:
    """Photographs that an actor was given at once.

    Attributes:
        jobs: the jobs of the photographs.
        alone: whether it is one suspect: a photograph that may have killed an earlier worker.
        given_at_s: when the actor could begin with it, by the monotonic clock.
    """

    jobs: list[Job]
    alone: bool
    given_at_s: float


@dataclass
class Actor:
    """A process on one of the machines.

    Attributes:
        handle: Ray's handle of the actor.
        name: its name in messages.
        node: Ray's name of its machine, empty until it is placed.
        size: how many photographs to put into its next chunk.
        chunks: the chunks that it has in work or waiting, by Ray's reference to their answer.
    """

    handle: Any
    name: str
    node: str = ""
    size: int = 1
    chunks: dict[Any, Chunk] = field(default_factory=dict)

    @property
    def is_alone(self) -> bool:
        """Whether it has a suspect, beside which it may have no other photograph."""
        return any(chunk.alone for chunk in self.chunks.values())


class Crew:
    """A fixed number of actors, each of which is starting or at work.

    Args:
        ray: the module.
        remote_worker: the actors' class, wrapped by `ray.remote`.
        arguments: the arguments of that class.
        size: the number of actors.
        workers: photographs that each has in work at a time.
        device: as on the command line.
        precision: as on the command line.

    Attributes:
        actors: the actors that are ready for work.
        setup: their device and precision; None until the first is ready.
    """

    def __init__(
        self,
        ray: Any,
        remote_worker: Any,
        arguments: tuple[Any, ...],
        *,
        size: int,
        workers: int,
        device: str,
        precision: str,
    ) -> None:
        self.actors: list[Actor] = []
        self.setup: Setup | None = None
        self._ray = ray
        self._remote_worker = remote_worker
        self._arguments = arguments
        self._size, self._workers = size, workers
        self._device, self._precision = device, precision
        self._placing: dict[Any, Actor] = {}
        self._placed: list[Actor] = []
        self._preparing: dict[Any, Actor] = {}
        self._restarts: list[float] = []
        self._started = 0
        self._program: Program | None = None
        self._seen_at = time.monotonic()

    def start(self) -> None:
        """Asks for all actors and waits until the first is ready.

        Raises:
            RaveError: the model cannot be used on the cluster.
            UsageError: the cluster has no room, or its workers cannot start.
        """
        for _ in range(self._size):
            self._start_actor()
        self._seen_at = time.monotonic()
        while self.setup is None:
            self.advance(timeout_s=0.2)

    def starting(self) -> list[Any]:
        """Returns Ray's references that are answered when a starting actor was placed or prepared."""
        return [*self._placing, *self._preparing]

    def replace(self, actor: Actor) -> None:
        """Ends an actor and asks for another in its place."""
        self.actors.remove(actor)
        self._kill(actor)  # it may only be out of reach, and must not write at the same time as its successor
        self._start_actor()

    def stop(self) -> None:
        """Ends all actors. Photographs in work are lost; results that were written are whole."""
        for actor in [*self.actors, *self._placing.values(), *self._placed, *self._preparing.values()]:
            self._kill(actor)
        for collection in (self.actors, self._placing, self._placed, self._preparing):
            collection.clear()

    def advance(self, timeout_s: float) -> None:
        """Takes starting actors to the next step: placed on a machine, then prepared, then at work.

        Args:
            timeout_s: how long to wait for Ray's answers.

        Raises:
            RaveError: as `start`.
            UsageError: as `start`, or no worker is left and none finds room.
        """
        now = time.monotonic()
        for _ in [due for due in self._restarts if due <= now]:
            self._start_actor()
        self._restarts = [due for due in self._restarts if due > now]
        for actor in self._placed if self.setup is not None else self._placed[:1]:
            device, precision = self._device, self._precision
            if self.setup is not None:
                device, precision = self.setup.device, self.setup.precision
            elif self._preparing:
                break  # the first decides for all
            self._preparing[actor.handle.prepare.remote(actor.name, device, precision)] = actor
        self._placed = [actor for actor in self._placed if actor not in self._preparing.values()]
        if self.actors or self._preparing or self._placed:
            self._seen_at = now
        elif now - self._seen_at > _PLACEMENT_TIMEOUT_S:
            raise UsageError(
                f"the cluster found no room for a worker in {_PLACEMENT_TIMEOUT_S:.0f} s: it is busy, has "
                "fewer processors than --workers, or lost its machines; --skip-existing resumes"
            )
        starting = self.starting()
        if not starting:
            return
        ready, _ = self._ray.wait(starting, num_returns=len(starting), timeout=timeout_s)
        for ref in ready:
            if ref in self._placing:
                self._on_placed(ref, self._placing.pop(ref))
            else:
                self._on_prepared(ref, self._preparing.pop(ref))

    def _start_actor(self) -> None:
        self._started += 1
        handle = self._remote_worker.remote(*self._arguments)
        actor = Actor(handle, f"worker-{self._started}", size=self._workers)
        self._placing[handle.place.remote()] = actor

    def _on_placed(self, ref: Any, actor: Actor) -> None:
        from ray.exceptions import RayError

        try:
            actor.node = self._ray.get(ref)
        except RayError as error:
            self._give_up(actor, error)
            return
        self._placed.append(actor)

    def _on_prepared(self, ref: Any, actor: Actor) -> None:
        from ray.exceptions import RayError

        try:
            setup, program = self._ray.get(ref)
        except RayError as error:
            self._give_up(actor, error)
            return
        if self._program is None:
            self.setup, self._program = setup, program
        if program != self._program:
            self._give_up(actor, DeviceError(f"it would run {program}, others {self._program}"))
            return
        self.actors.append(actor)

    def _give_up(self, actor: Actor, error: Exception) -> None:
        """Ends a worker that could not start. If none ever did, that is an error; otherwise it tries again.

        Raises:
            RaveError: the worker's error, if it concerns the model or device.
            UsageError: any other error.
        """
        self._kill(actor)
        if self.setup is None:
            cause = getattr(error, "cause", None)
            if isinstance(cause, RaveError):
                raise cause from None
            raise UsageError(
                f"workers cannot start on the cluster: {cause_of(error)}; each of its machines needs "
                f"rave-backlit {__version__}"
            ) from error
        warnings.warn(
            f"a worker on node {actor.node[:8] or '?'} could not start: {cause_of(error)}", stacklevel=2
        )
        self._restarts.append(time.monotonic() + _RESTART_PAUSE_S)

    def _kill(self, actor: Actor) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(actor.handle)


def cause_of(error: Any) -> str:
    """Returns the reason of an error in one line; for an error of Ray's, what the worker raised."""
    cause = getattr(error, "cause", None)
    return reason_of(cause if isinstance(cause, Exception) else error)
