"""Measures how fast a film is enhanced, compared with only decoding and encoding it, and what takes the time.

    python -m benchmarks films [--frames 300] [--rounds 3] [--size 1920x1080] [--grain 4] [--output FILE]

It makes a film by panning over a backlit photograph, with grain. Then it takes turns in decoding and encoding
the film with the same encoder and quality, and in enhancing it; both use all processors. Processor time is
given as well, since other programs may use the machine. The steps of one frame are timed alone.
`--memory-frames 1000,5000,10000` first enhances a film of 320 x 180 pixels, as long as the largest of these
numbers, and gives the peak of resident memory up to each of these frames.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
from PIL import Image

from benchmarks.processes.memory import rss_mib
from benchmarks.records.results import model_hash
from benchmarks.studies.reporting import report_study, study_parser
from rave_runtime import Enhancer
from rave_runtime.films.dividing import DividedFilm, FilmOptions, FilmResult
from rave_runtime.films.encoding import add_video, choose_encoder, quality_of
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.opening import describe_film, main_video
from rave_runtime.light.reduction import UpsampledLight

EXAMPLE = Path(__file__).parents[2] / "examples" / "garden.jpg"
RATE = 30


def make_film(path: Path, frames: int, width: int, height: int, grain_levels: float) -> None:
    """Writes a film in H.264 that pans over an enlarged example.

    Args:
        path: file to write.
        frames: number of frames.
        width: width in pixels.
        height: height in pixels.
        grain_levels: standard deviation of the grain, in levels of 255.
    """
    rng = np.random.default_rng(0)
    picture = Image.open(EXAMPLE).resize((width * 5 // 4, height * 5 // 4), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture, np.int16)
    grain = rng.normal(0, grain_levels, (height + 64, width + 64)).astype(np.int16)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            left = round((np.sin(i / 40) + 1) / 2 * (width // 4))
            top = round((np.cos(i / 55) + 1) / 2 * (height // 4))
            down, across = rng.integers(0, 64, 2)
            noise = grain[down : down + height, across : across + width, None]
            view = np.clip(pixels[top : top + height, left : left + width] + noise, 0, 255)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(view.astype(np.uint8), "rgb24")))
        output.mux(stream.encode())


def recode(source: Path, target: Path) -> float:
    """Decodes and encodes a film with the encoder and quality of enhancing it; returns the seconds."""
    started = time.perf_counter()
    with av.open(str(source)) as opened, av.open(str(target), "w") as output:
        stream = main_video(opened)
        stream.thread_type = "AUTO"
        video: Any = None
        for frame in opened.decode(stream):
            if video is None:
                info = describe_film(stream, frame)
                encoder = choose_encoder(info, None)
                quality = quality_of(info, encoder, None)
                video = add_video(output, stream, frame, info, encoder, quality, live=False)
            frame.pict_type = 0
            output.mux(video.encode(frame))
        output.mux(video.encode())
    return time.perf_counter() - started


def measure_steps(source: Path, enhancer: Enhancer, frames: int) -> dict[str, float]:
    """Median milliseconds of processor time of each step of a frame, by name of the step."""
    times_s: dict[str, list[float]] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = step()
        times_s.setdefault(name, []).append(time.process_time() - started)
        return result

    with av.open(str(source)) as opened:
        film = DividedFilm(opened, enhancer, FilmOptions(), FilmResult())
        decoded = opened.decode(film.video)
        for _ in range(frames):
            frame = timed("decode", lambda: next(decoded))
            inputs = timed("reduce, network, fit, steady", partial(film.light_frame, frame))
            timed("divide", partial(film.divide, *inputs))
    return {name: round(1000 * statistics.median(values), 2) for name, values in times_s.items()}


def measure_memory(source: Path, target: Path, enhancer: Enhancer, frames: Sequence[int]) -> dict[str, int]:
    """Enhances a film; returns the peak of resident memory, in MiB, up to each of some frames."""
    resident_mib: list[float] = []
    divide = DividedFilm.divide

    def watched(film: DividedFilm, frame: Any, light: UpsampledLight) -> Any:
        resident_mib.append(rss_mib(os.getpid()))
        return divide(film, frame, light)

    with mock.patch.object(DividedFilm, "divide", watched):
        enhance_film(source, target, enhancer)
    return {str(count): round(max(resident_mib[:count])) for count in frames}


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("films", __doc__)
    parser.add_argument("--frames", type=int, default=300, help="of the film; 300 unless given")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each; 3 unless given")
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT; 1920x1080 unless given")
    parser.add_argument("--grain", type=float, default=4.0, help="standard deviation, in levels of 255")
    parser.add_argument("--memory-frames", default="", help="numbers with commas between them")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    width, height = map(int, options.size.split("x"))
    enhancer = Enhancer(threads=1)
    enhancer.prepare()
    seconds: dict[str, list[float]] = {"decode and encode": [], "enhance": []}
    process_s: dict[str, list[float]] = {name: [] for name in seconds}
    with tempfile.TemporaryDirectory() as scratch:
        film, target = Path(scratch, "film.mp4"), Path(scratch, "out.mp4")
        memory = {}
        if counts := [int(word) for word in options.memory_frames.split(",") if word]:
            make_film(film, max(counts), 320, 180, options.grain)
            memory = measure_memory(film, target, enhancer, counts)
        make_film(film, options.frames, width, height, options.grain)
        for turn in range(options.rounds + 1):
            for name in seconds:
                started_s = time.process_time()
                if name == "enhance":
                    taken_s = enhance_film(film, target, enhancer).seconds
                else:
                    taken_s = recode(film, target)
                if turn:
                    seconds[name].append(taken_s)
                    process_s[name].append(time.process_time() - started_s)
        findings: dict[str, Any] = {
            "size": options.size,
            "frames": options.frames,
            "frames_per_s": {n: round(options.frames / statistics.median(v), 1) for n, v in seconds.items()},
            "times_decode_and_encode": round(
                statistics.median(
                    a / b for a, b in zip(seconds["enhance"], seconds["decode and encode"], strict=True)
                ),
                2,
            ),
            "processor_ms_per_frame": {
                n: round(1000 * statistics.median(v) / options.frames, 1) for n, v in process_s.items()
            },
            "mbit_per_s": round(film.stat().st_size * 8 / 1e6 * RATE / options.frames, 1),
            "real_time_at_30": bool(Fraction(options.frames, RATE) >= statistics.median(seconds["enhance"])),
            "one_frame_processor_ms": measure_steps(film, enhancer, min(options.frames, 40)),
            "computes_on": f"{enhancer.setup.provider}, {enhancer.setup.precision}",
        }
        if memory:
            findings["peak_mib_up_to_frame"] = memory
    report_study("films", arguments, findings, options.output, model_hash())
