"""Training pictures in an order that depends on the seed and the step alone.

Every sample has a number that says which picture it is and how it is augmented. A run resumed at
step k asks for the samples of step k; workers and processes divide the numbers among them. So there
is no loader state to save, and neither workers nor processes change what is drawn.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rave_runtime.arrays import Picture
from rave_runtime.backends.limits import allowed_memory_mib
from rave_runtime.run.interrupt import heeded_signals
from rave_train.data.augmentation import FOR_ENHANCEMENT, draw_placement, place
from rave_train.data.photographs import Photograph, load_square, load_squares

IN_MEMORY_BYTES: Final = 8 * 2**30
"""Greatest size of a set whose squashed pictures are kept decoded; a larger one is decoded at every draw.
In a container it may be less: see `_most_kept_bytes`."""


WORKERS_START: Final = "fork" if sys.platform == "linux" else None
"""How workers begin: forked, they share the decoded pictures. Otherwise, as by default from Python 3.14 on,
each would get a copy. Other systems cannot fork safely."""


class TrainingPictures(Dataset[tuple[Tensor, Tensor]]):
    """Backlit pictures, with their well-lit partners where a pixel loss asks for them.

    Args:
        backlit: the pictures.
        truth: their partners in the same order, or None.
        size_px: side of the squashed squares.
        seed: the seed of order and augmentation.
    """

    def __init__(
        self, backlit: Sequence[Photograph], truth: Sequence[Photograph] | None, size_px: int, seed: int
    ) -> None:
        self.files = [photograph.file for photograph in backlit]
        self.truth_files = None if truth is None else [photograph.file for photograph in truth]
        self.size_px = size_px
        self.seed = seed
        sides = 1 if truth is None else 2
        keep = sides * len(self.files) * size_px**2 * 3 <= _most_kept_bytes()
        self._squares = load_squares(backlit, size_px) if keep else None
        self._truths = load_squares(truth, size_px) if keep and truth is not None else None
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, sample: int) -> tuple[Tensor, Tensor]:
        """The sample with a number from 0 up: a backlit picture and its partner, augmented alike.

        Returns:
            [3, size, size] float32 in [0, 1] each; in place of the partner an empty tensor where the set
            has none.
        """
        epoch, place_in_epoch = divmod(sample, len(self.files))
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.files))
            self._order = (epoch, order.tolist())
        index = self._order[1][place_in_epoch]
        placement = draw_placement(FOR_ENHANCEMENT, np.random.default_rng([self.seed, 2, sample]))
        backlit = self._squares[index] if self._squares else load_square(self.files[index], self.size_px)
        if self.truth_files is None:
            return place(to_tensor(backlit), placement), torch.empty(0)
        truth = self._truths[index] if self._truths else load_square(self.truth_files[index], self.size_px)
        return place(to_tensor(backlit), placement), place(to_tensor(truth), placement)


def _most_kept_bytes() -> int:
    """Returns how many bytes decoded pictures may take: at most a quarter of what a container allows."""
    allowed_mib = allowed_memory_mib()
    return IN_MEMORY_BYTES if allowed_mib is None else min(IN_MEMORY_BYTES, allowed_mib * 2**20 // 4)


def draw_batches(
    pictures: TrainingPictures, start: int, batch: int, rank: int, world: int, workers: int
) -> Generator[tuple[Tensor, Tensor]]:
    """Yields this process's share of the batches from step `start` on, without end.

    Args:
        pictures: what to draw from.
        start: number of the first step.
        batch: samples per step over all processes, a multiple of `world`.
        rank: the number of this process.
        world: number of processes.
        workers: processes that decode and augment; 0 does it in this one.

    Yields:
        The samples of a step, stacked: [batch / world, 3, size, size] float32 in [0, 1], and their partners
        in the same shape, or [batch / world, 0] where the set has none.
    """

    def numbers() -> Iterator[list[int]]:
        step = start
        while True:
            first = step * batch
            yield list(range(first + rank, first + batch, world))
            step += 1

    loader = DataLoader(
        pictures,
        batch_sampler=numbers(),
        num_workers=workers,
        worker_init_fn=_leave_signals_to_the_run,
        multiprocessing_context=WORKERS_START if workers else None,
    )
    yield from loader


def _leave_signals_to_the_run(worker: int) -> None:
    """Makes a worker ignore signals to stop, which often go to all processes of a job at once.

    The run ends its workers itself, after it has saved its state.
    """
    del worker
    for number in heeded_signals():
        signal.signal(number, signal.SIG_IGN)


def to_tensor(pixels: Picture) -> Tensor:
    """[h, w, 3] uint8 -> [3, h, w] float32 in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)
