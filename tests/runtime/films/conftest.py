"""Films made on the spot with PyAV; where it is missing these tests are left out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.films.encoders import usual_scheduling
from rave_runtime.light.workspace import Workspace

av: Any
try:
    import av
except ImportError:
    av = None
    collect_ignore_glob = ["test_*.py"]

Frames = list[NDArray[np.uint8]]


@pytest.fixture(scope="session")
def model() -> Enhancer:
    return Enhancer(device="cpu", threads=1)


def moving_scene(
    count: int, height: int = 96, width: int = 128, step_px: int = 2, noise: float = 3.0
) -> Frames:
    """A bright sky over a dark ground with texture, panned sideways, with grain: [h, w, 3] uint8 each."""
    rng = np.random.default_rng(1)
    wide = width + step_px * count
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : wide / width : wide * 1j]
    ground = 0.14 + 0.06 * np.sin(37 * x) * np.cos(29 * y) + 0.04 * np.sin(11 * x)
    base = np.where(y < 0.4 + 0.06 * np.sin(7 * x), 0.82 - 0.2 * y, ground)
    colour = base[..., None] * np.array([1.0, 0.92, 0.8])
    frames = []
    for i in range(count):
        view = colour[:, i * step_px : i * step_px + width]
        grain = rng.normal(0, noise / 255, (height, width, 1))
        frames.append(np.clip((view + grain) * 255 + 0.5, 0, 255).astype(np.uint8))
    return frames


MakeFilm = Callable[..., Path]


@pytest.fixture
def make_film(tmp_path: Path) -> MakeFilm:
    """Writes a film: frames, and whatever else is asked for."""

    def make(
        name: str = "film.mp4",
        frames: Frames | None = None,
        *,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        rate: int = 25,
        times: list[int] | None = None,
        sound: bool = False,
        trc: int = 1,
        rotation: int = 0,
        metadata: dict[str, str] | None = None,
        chapters: bool = False,
        full_range: bool = False,
        reorders: bool = True,
        ticks: int = 10,
        shape: Fraction = Fraction(1),
    ) -> Path:
        path = tmp_path / name
        frames = moving_scene(12) if frames is None else frames
        height, width = frames[0].shape[:2]
        with av.open(str(path), "w") as output:
            output.metadata.update(metadata or {})
            stream = output.add_stream(codec, rate=rate, options={"crf": "12"})
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            context = stream.codec_context
            context.time_base = Fraction(1, rate * ticks)
            context.color_trc, context.colorspace, context.color_primaries = trc, 1, 1
            context.sample_aspect_ratio = shape
            context.color_range = 2 if full_range else 1
            if not reorders:
                context.max_b_frames = 0
            if rotation:
                stream.set_display_rotation(rotation)
            voice = output.add_stream("aac", rate=16000, layout="mono") if sound else None
            with usual_scheduling():
                context.open(strict=False)
            if chapters:
                output.set_chapters(
                    [
                        {
                            "id": 0,
                            "start": 0,
                            "end": 200,
                            "time_base": Fraction(1, 1000),
                            "metadata": {"title": "One"},
                        }
                    ]
                )
            for i, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                    format=pixel_format, dst_colorspace=1, dst_color_range=2 if full_range else 1
                )
                frame.pts = times[i] if times else ticks * i
                frame.time_base = Fraction(1, rate * ticks)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
            if voice is not None:
                tone = (np.sin(np.arange(8000) / 6) * 9000).astype(np.int16)[None]
                part = av.AudioFrame.from_ndarray(tone, "s16", "mono")
                part.sample_rate, part.pts = 16000, 0
                output.mux(voice.encode(part))
                output.mux(voice.encode())
        return path

    return make


def read_film(path: Path) -> Frames:
    """All frames as [h, w, 3] uint8."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class EvenLight:
    """The same light everywhere."""

    def __init__(self, value: float) -> None:
        self.value = value

    def rows(
        self, start: int, stop: int, luma: NDArray[np.float32], workspace: Workspace | None = None
    ) -> NDArray[np.float32]:
        assert luma.shape[0] == stop - start
        return np.full(luma.shape, self.value, np.float32)


def rave_run(*arguments: object, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, input=given, check=False)
