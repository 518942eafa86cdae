"""Compares the graph of the normal way with `Enhancer`: time, memory, and the difference of their pictures.

    python -m benchmarks single-graph [--model BUNDLE] [--megapixels 12] [--rounds 5] [--threads 0]
        [--output FILE.json]

Both take turns in one process, on a smooth scene with grain. The graph's peak memory is that of a process
that runs nothing else, with Python and the picture included.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies.full_resolution import make_picture
from benchmarks.studies.reporting import report_study, study_parser
from rave_export.proof.parity import psnr_db
from rave_export.web.page import page_graph
from rave_runtime import Enhancer
from rave_runtime.backends.limits import usable_processors
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.bundle import EMBEDDED, read_bundle

_ALONE = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[4])
options.enable_mem_pattern = False
options.log_severity_level = 3
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
image = np.random.default_rng(0).integers(0, 256, (1, int(sys.argv[2]), int(sys.argv[3]), 3), np.uint8)
session.run(["enhanced"], {"image": image, "strength": np.array(1, np.float32)})
status = open("/proc/self/status").read()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("single-graph", __doc__)
    parser.add_argument("--model", default=EMBEDDED, help="bundle with fp32 graphs")
    parser.add_argument("--megapixels", type=float, default=12, help="of the scene; 12 unless given")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; 5 unless given")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all processors")
    parser.add_argument("--output", type=Path, help="write the findings into this file as well")
    options = parser.parse_args(arguments)
    threads = options.threads or usable_processors()
    bundle = read_bundle(options.model)
    content = page_graph(bundle).SerializeToString()
    session = open_session(content, threads)
    enhancer = Enhancer(bundle.folder, device="cpu", precision="fp32", threads=threads)
    height = round((options.megapixels * 1e6 * 3 / 4) ** 0.5)
    picture = make_picture(height, height * 4 // 3)
    inputs = {"image": picture[None], "strength": np.array(1, np.float32)}
    seconds_by_way: dict[str, list[float]] = {"Enhancer": [], "graph": []}
    for _ in range(options.rounds + 1):
        began = time.perf_counter()
        expected = enhancer.enhance(picture)
        between = time.perf_counter()
        (enhanced,) = session.run(["enhanced"], inputs)
        seconds_by_way["Enhancer"].append(between - began)
        seconds_by_way["graph"].append(time.perf_counter() - between)
    medians = {name: statistics.median(times[1:]) for name, times in seconds_by_way.items()}
    steps = np.abs(enhanced[0].astype(np.int16) - expected)
    findings = {
        "megapixels": picture.shape[0] * picture.shape[1] / 1e6,
        "seconds": {name: round(seconds, 3) for name, seconds in medians.items()},
        "graph_over_enhancer": round(medians["graph"] / medians["Enhancer"], 2),
        "graph_peak_mib": _peak_mib(content, picture.shape[:2], threads),
        "psnr_db": psnr_db(enhanced[0], expected),
        "share_within_one_step": float((steps <= 1).mean()),
    }
    report_study("single-graph", arguments, findings, options.output, bundle.manifest.model_hash)


def open_session(content: bytes, threads: int) -> Any:
    """Opens a graph in onnxruntime on the CPU, with threads that do not spin."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    # Threads that spin would take processors from other programs and from `Enhancer`.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _peak_mib(content: bytes, shape: Sequence[int], threads: int) -> int:
    """The peak memory in MiB of a process that runs the graph once on a picture of this height and width."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(content)
        file.flush()
        command = [sys.executable, "-c", _ALONE, file.name, *map(str, (*shape, threads))]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout)
