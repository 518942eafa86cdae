"""Recordings that were joined byte by byte, each with time stamps of its own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from rave_runtime import Enhancer
from rave_runtime.films.enhancing import enhance_film

from .conftest import MakeFilm, av, moving_scene

WRAP_S = 95442
"""A little before the end of the clock of transport streams, which has 33 bits and 90,000 ticks a second."""


@pytest.mark.parametrize("ending", [".ts", ".mpg"])
def test_parts_come_one_after_the_other_with_their_sound(
    make_film: MakeFilm, tmp_path: Path, ending: str
) -> None:
    """All frames of the second part were shown at once, or its sound stopped the whole film."""
    codec = "libx264" if ending == ".ts" else "mpeg2video"
    part = make_film(f"part{ending}", moving_scene(12), codec=codec, sound=ending == ".ts", ticks=1)
    joined = tmp_path / f"joined{ending}"
    joined.write_bytes(part.read_bytes() * 3)
    result = enhance_film(joined, tmp_path / "out.mkv", Enhancer(device="cpu", strength=0))
    assert result.warnings == ["its 3 parts, each with times of its own, were put one after the other"]
    assert result.frames == 36
    with av.open(str(tmp_path / "out.mkv")) as container:
        times: dict[str, list[float]] = {stream.type: [] for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                times[packet.stream.type].append(float(packet.pts * packet.time_base))
    for stamps in times.values():
        stamps.sort()
        steps = [after - before for before, after in pairwise(stamps)]
        assert min(steps) > 0.02, "two were shown at once"
        assert max(steps) < 0.4, "there is a gap"
    assert [max(stamps) for stamps in times.values()] == [pytest.approx(max(times["video"]), abs=0.4)] * len(
        times
    )


def test_one_recording_keeps_its_times(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film("a.ts", moving_scene(12), sound=True)
    result = enhance_film(film, tmp_path / "out.ts", Enhancer(device="cpu", strength=0))
    assert result.warnings == []


@pytest.mark.parametrize(
    ("name", "begins_s", "start_s"),
    [
        *((name, begins_s, 0) for name in ("out.mp4", "out.mkv", "out.avi") for begins_s in (5000, WRAP_S)),
        ("out.ts", 5000, 5000),
    ],
)
def test_a_transport_stream_begins_at_zero_in_another_kind_of_file(
    make_film: MakeFilm, tmp_path: Path, name: str, begins_s: int, start_s: int
) -> None:
    """An MP4 of a camera's stream was black for as many hours as the camera had counted, and AVI failed.

    Where the clock of the stream starts anew in the middle, an MP4 hid what was before that.
    """
    film = make_film("a.ts", moving_scene(12), times=[begins_s * 25 + i for i in range(12)], ticks=1)
    enhance_film(film, tmp_path / name, Enhancer(device="cpu", strength=0))
    with av.open(str(tmp_path / name)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 12
    assert times[0] == pytest.approx(start_s, abs=3)
    assert times[-1] - times[0] == pytest.approx(11 / 25, abs=0.05)  # an AVI counts in frames
