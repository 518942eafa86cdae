"""The actors of a cluster: placed on machines, prepared, replaced, ended.

The first that is ready decides the device and precision of all: results must not depend on the machine that
made them.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Final

from rave_runtime.cluster.worker import Program
from rave_runtime.enhancer import Setup
from rave_runtime.errors import DeviceError, RaveError, UsageError, reason_of
from rave_runtime.run.jobs import Job
from rave_runtime.version import __version__

_PLACEMENT_TIMEOUT_S: Final = 120.0
"""The longest time that the cluster may take to find room for a first worker."""

_RESTART_PAUSE_S: Final = 5.0
"""Between attempts to replace a worker that could not start."""


@dataclass
class Chunk:
    """Photographs that an actor was given at once.

    Attributes:
        jobs: what it was given.
        alone: it has but one, which may be what killed an earlier worker.
        given_at_s: when it was given to the actor, by the monotonic clock.
    """

    jobs: list[Job]
    alone: bool
    given_at_s: float


@dataclass
class Actor:
    """A process on one of the machines.

    Attributes:
        handle: Ray's.
        name: its name in messages.
        node: Ray's name of its machine, once it is placed.
        size: photographs in its next chunk.
        chunks: the chunks that are in work or waiting, by the reference to their answer.
    """

    handle: Any
    name: str
    node: str = ""
    size: int = 1
    chunks: dict[Any, Chunk] = field(default_factory=dict)

    @property
    def is_alone(self) -> bool:
        """Whether it has a photograph that must be alone."""
        return any(chunk.alone for chunk in self.chunks.values())


class Crew:
    """As many actors as are wanted, each on its way to work or at it.

    Args:
        ray: the module.
        remote_worker: the actors' class, as Ray has it.
        arguments: what each actor is made with.
        size: how many are wanted.
        workers: photographs that each has in work at a time.
        device: as on the command line.
        precision: as on the command line.

    Attributes:
        actors: those at work.
        setup: what they compute with, once the first is there.
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
        """Asks for all actors and waits for the first.

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
        """References that are answered when an actor has come a step on."""
        return [*self._placing, *self._preparing]

    def replace(self, actor: Actor) -> None:
        """Ends one and asks for another in its place."""
        self.actors.remove(actor)
        self._kill(actor)  # one that is only out of reach must not write beside its successor
        self._start_actor()

    def stop(self) -> None:
        """Ends all; what they had in work is lost, what they had written is whole."""
        for actor in [*self.actors, *self._placing.values(), *self._placed, *self._preparing.values()]:
            self._kill(actor)
        for held in (self.actors, self._placing, self._placed, self._preparing):
            held.clear()

    def advance(self, timeout_s: float) -> None:
        """Brings starting actors a step on: placed on a machine, prepared, at work.

        Raises:
            RaveError, UsageError: as `start`; later, that no worker is left and none finds room.
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
        done, _ = self._ray.wait(starting, num_returns=len(starting), timeout=timeout_s)
        for ref in done:
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
        """A worker that could not start: the reason where none ever did, else another attempt later."""
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
    """What went wrong, in one line: of an error of Ray's, what the worker raised."""
    cause = getattr(error, "cause", None)
    return reason_of(cause if isinstance(cause, Exception) else error)
