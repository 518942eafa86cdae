"""A folder of hostile and odd files: each gives the right picture or a named error, and the run ends."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime.enhancer import Enhancer
from rave_runtime.light.look import Look
from rave_runtime.light.score import Scored
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import plan_jobs
from rave_runtime.run.options import RunOptions
from rave_runtime.run.results import Result
from tests.runtime.zoo.animal import MAX_MEGAPIXELS, Animal
from tests.runtime.zoo.animals import animals

ZOO = list(animals())


class Unchanged:
    """An enhancer that is fast, and whose results can be foretold."""

    network = None
    look = Look(0)

    def prepare(self) -> None:
        """There is nothing to load."""

    def score_photo(self, photo: Photo, *, reuse: bool, least_score: float) -> Scored:
        return Scored(photo.pixels.copy(), None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Result]]:
    """The zoo enhanced in one run of three workers: output folder, and results by name."""
    if sys.platform != "linux":
        pytest.skip("pipes, devices and odd names are made as Linux has them")
    folder, output = tmp_path_factory.mktemp("zoo"), tmp_path_factory.mktemp("out")
    for animal in ZOO:
        if isinstance(animal.make, bytes):
            (folder / animal.name).write_bytes(animal.make)
        else:
            animal.make(folder / animal.name)
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "up.jpg").symlink_to("..")
    (folder / "folder.jpg" / "into-output").symlink_to(output)
    enhancer = cast(Enhancer, Unchanged())
    options = RunOptions(max_megapixels=MAX_MEGAPIXELS)
    with pytest.MonkeyPatch.context() as patch:  # where nothing changes, files would be copied
        patch.setattr("rave_runtime.run.batch.is_one_format", lambda *_: False)
        results = list(Batch(enhancer, options, workers=3).run(plan_jobs(folder, output)))
    return output, {result.job.name: result for result in results}


def test_the_zoo_is_large_and_every_animal_was_seen(run: tuple[Path, dict[str, Result]]) -> None:
    _, results = run
    assert len(ZOO) >= 60
    assert sorted(results) == sorted(animal.name for animal in ZOO)


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: ascii(animal.name)[1:60])
def test_each_gives_the_right_picture_or_a_named_error(
    animal: Animal, run: tuple[Path, dict[str, Result]]
) -> None:
    output, results = run
    result = results[animal.name]
    if animal.picture is None:
        assert result.error is not None
        assert re.search(animal.error, result.error), result.error
        assert len(result.error) < 300
        assert "\n" not in result.error
        assert not (output / animal.name).exists()
        return
    assert result.error is None
    written = read_photo(result.job.target)
    shown = whole(written)
    expected = animal.picture if animal.picture.ndim == 3 else animal.picture[..., None]
    assert shown.shape == expected.shape
    step = 257 if shown.dtype == np.uint16 else 1
    off = np.abs(shown.astype(float) - expected).mean() / step
    assert off <= 2 * animal.off
    if not animal.off:
        assert shown.dtype == expected.dtype
    assert animal.note in " ".join(result.warnings)
    assert bool(animal.note) == bool(result.warnings)


def test_nothing_is_left_beside_the_results(run: tuple[Path, dict[str, Result]]) -> None:
    output, results = run
    written = {result.job.target for result in results.values() if result.error is None}
    assert set(output.rglob("*")) == written


def whole(photo: Photo) -> NDArray[Any]:
    return photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
