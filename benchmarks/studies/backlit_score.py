"""Which photographs `--only-backlit` takes: `python -m benchmarks backlit-score --real DIR --well-lit DIR`.

Of bracketed scenes, the photographs at each exposure should be taken, the darker the rather; their fused
brackets and well-lit photographs should be left.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.records.results import model_hash
from benchmarks.studies.reporting import report_study, study_parser
from benchmarks.suites.real_scenes import STOPS_BELOW_MIDDLE, find_pictures, find_scenes
from rave_runtime import Enhancer
from rave_runtime.light.score import BACKLIT_SCORE
from rave_runtime.photos.reading import load_rgb

THRESHOLDS: Final = (0.15, 0.2, BACKLIT_SCORE, 0.3, 0.35, 0.4, 0.5)
"""Scores from which on a photograph is taken for backlit."""


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("backlit-score", __doc__)
    parser.add_argument("--bundle", type=Path, help="default: the embedded model")
    parser.add_argument("--real", type=Path, required=True, help="folder of scenes, as for quality-real")
    parser.add_argument("--well-lit", type=Path, action="append", default=[], help="folder of photographs")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    scenes = find_scenes(options.real)
    files = {
        f"real, {stops:g} stops below the middle": [scene.photographs[i] for scene in scenes]
        for i, stops in enumerate(STOPS_BELOW_MIDDLE)
    }
    files["real, fused brackets"] = [scene.truth for scene in scenes]
    files |= {folder.name: find_pictures([folder]) for folder in options.well_lit}
    enhancer = Enhancer(options.bundle)
    scores = {
        name: np.array([enhancer.backlit_score(load_rgb(file)) for file in group])
        for name, group in files.items()
    }
    findings = {
        "pictures": {name: len(group) for name, group in files.items()},
        "median_score": {name: round(float(np.median(each)), 3) for name, each in scores.items()},
        "percent_taken": {
            name: {f"{least:g}": round(100 * float((each >= least).mean()), 1) for least in THRESHOLDS}
            for name, each in scores.items()
        },
    }
    report_study("backlit-score", arguments, findings, options.output, model_hash(options.bundle))
