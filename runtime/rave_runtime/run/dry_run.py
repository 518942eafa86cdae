"""What a run would do, without doing it: which photographs, where to, and which of them are backlit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import RaveError
from rave_runtime.photos.photo import Pixels
from rave_runtime.photos.reading import read_file, read_photo
from rave_runtime.run.jobs import Job
from rave_runtime.run.journal import Journal
from rave_runtime.run.options import RunOptions
from rave_runtime.run.overwriting import is_foreign, is_free

BACKLIT_EV: Final = 1.0
"""A photograph counts as backlit where the model would brighten a tenth of it by at least so much."""

_SHARE: Final = 90.0
"""Percentile of the brightening that decides, and is shown."""

_STEP_PX: Final = 8
"""Pixels between those that are looked at."""


def preview_jobs(
    jobs: Iterable[Job], options: RunOptions, enhancer: Enhancer, journal: Journal | None
) -> Iterator[tuple[str, bool]]:
    """What would become of each photograph.

    Args:
        jobs: of the run.
        options: of the run.
        enhancer: what would enhance them.
        journal: of the results, if there is one.

    Yields:
        A sentence without its end for each photograph, and whether it would fail.
    """
    for job in jobs:
        try:
            content = read_file(job.source, options.max_megapixels)
            photo = read_photo(content, options.max_megapixels)
            lifted_ev = _lifted_ev(photo.pixels, enhancer)
            if options.overwrite != "always" and is_foreign(job.target, journal):
                text = f"{job.name} would be left out: {job.target} is there and rave-run did not write it"
                yield text, True
                continue
            place = f"{job.target}" if is_free(job.target) else f"{job.target}, replacing it"
            kind = "backlit" if lifted_ev >= BACKLIT_EV else "not backlit"
            measure = f"a tenth of it would gain {lifted_ev:.1f} EV or more"
            yield f"{job.name} is {kind} ({measure}) and would go to {place}", False
        except RaveError as problem:
            yield f"{job.name} {problem}", True


def _lifted_ev(pixels: Pixels, enhancer: Enhancer) -> float:
    """By how many stops the model would brighten the tenth of a picture that it brightens most, at least."""
    seen = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels
    light = enhancer.illumination(np.ascontiguousarray(seen))[::_STEP_PX, ::_STEP_PX]
    stops = -np.log2(np.clip(light, 1 / 256, None)) * enhancer.strength
    return max(0.0, float(np.percentile(stops, _SHARE)))
