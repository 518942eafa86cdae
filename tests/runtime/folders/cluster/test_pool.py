"""How photographs are handed out in chunks, with actors that answer at once and no cluster."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rave_runtime.cluster.crew import Actor
from rave_runtime.cluster.pool import MAX_CHUNK, Pool
from rave_runtime.cluster.worker import Answer, Task
from rave_runtime.run.jobs import Job
from rave_runtime.run.results import Result

pytest.importorskip("ray.exceptions", reason="the extra `cluster` is not installed")


class Remote:
    """An actor's handle: the answers are there when they are asked for, and the sizes are kept."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.answers: dict[str, list[Answer]] = {}
        self.enhance = SimpleNamespace(remote=self._enhance)
        self._count = itertools.count()

    def _enhance(self, tasks: list[Task]) -> str:
        self.sizes.append(len(tasks))
        ref = f"chunk {next(self._count)}"
        self.answers[ref] = [Answer(Result(task.job, "done"), None) for task in tasks]
        return ref


def hand_out(photographs: int, chunk_photographs: int | None) -> tuple[list[int], list[Result]]:
    """Sizes of the chunks that one actor got, and all results."""
    remote = Remote()
    ray = SimpleNamespace(get=remote.answers.__getitem__, wait=lambda refs, **_: (refs[:1], refs[1:]))
    crew: Any = SimpleNamespace(
        actors=[Actor(remote, "a", "node")], starting=list, advance=lambda timeout_s: None
    )
    pool = Pool(ray, crew, 1, None, chunk_photographs)
    jobs = [Job(Path(f"{i}.jpg"), Path(f"out/{i}.jpg"), f"{i}.jpg") for i in range(photographs)]
    return remote.sizes, list(pool.run(jobs))


@pytest.mark.parametrize("size", [1, 7, MAX_CHUNK])
def test_a_given_size_of_chunks_is_kept_until_the_end_is_near(size: int) -> None:
    sizes, results = hand_out(2000, size)
    assert len(results) == sum(sizes) == 2000
    assert set(sizes[:10]) == {size}
    assert max(sizes) == size


def test_chunks_grow_while_photographs_are_quick() -> None:
    sizes, results = hand_out(2000, None)
    assert len(results) == 2000
    assert sizes[0] == 1
    assert max(sizes) == MAX_CHUNK
    assert all(later <= 2 * max(sizes[:index]) for index, later in enumerate(sizes[1:], 1))
