"""How players show a film: mirrored, field by field, at its rate; and the bits of its pixels."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rave_runtime import Enhancer, UsageError
from rave_runtime.films.dividing import FilmOptions
from rave_runtime.films.encoders import supported_format
from rave_runtime.films.encoding import encoder_for_container
from rave_runtime.films.enhancing import enhance_film

from .conftest import MakeFilm, av, moving_scene, read_film

ONE = 1 << 16
MATRICES = {
    "left to right": (-ONE, 0, 0, ONE),
    "upside down": (ONE, 0, 0, -ONE),
    "transposed": (0, ONE, ONE, 0),
    "transversed": (0, -ONE, -ONE, 0),
    "a quarter turn": (0, ONE, -ONE, 0),
}


def with_matrix(film: Path, a: int, b: int, c: int, d: int) -> Path:
    """Writes how players show a film into the header of its first track."""
    content = bytearray(film.read_bytes())
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    film.write_bytes(content)
    return film


def matrix_of(film: Path) -> tuple[int, ...]:
    with av.open(str(film)) as container:
        data = next(container.decode(video=0)).side_data.get("DISPLAYMATRIX")
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    return a, b, c, d


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_films_that_are_shown_mirrored_stay_so(
    make_film: MakeFilm, tmp_path: Path, name: str, ending: str
) -> None:
    """A mirrored film became one that stood on its head."""
    film = with_matrix(make_film(frames=moving_scene(3)), *MATRICES[name])
    enhance_film(film, tmp_path / f"out{ending}", Enhancer(device="cpu", strength=0))
    assert matrix_of(film) == matrix_of(tmp_path / f"out{ending}") == MATRICES[name]


def test_the_network_sees_a_mirrored_film_upright(make_film: MakeFilm, tmp_path: Path) -> None:
    frames = [frame[::-1].copy() for frame in moving_scene(2, noise=0)]
    film = with_matrix(make_film(frames=frames), *MATRICES["upside down"])
    seen: list[Any] = []

    class Watching(Enhancer):
        def illumination(self, rgb: Any) -> Any:
            seen.append(rgb)
            return super().illumination(rgb)

    enhance_film(film, tmp_path / "out.mp4", Watching(device="cpu", threads=1))
    assert seen[0][:20].mean() > 2 * seen[0][60:].mean(), "the sky is at the top"
    before, after = read_film(film)[0], read_film(tmp_path / "out.mp4")[0]
    assert after[:36].mean() > 1.2 * before[:36].mean(), "the ground, which is stored first, is lifted"


@pytest.mark.parametrize("pixel_format", ["yuv420p12le", "yuv422p12le", "yuv444p12le"])
def test_twelve_bits_become_ten_where_the_encoder_takes_no_more(
    make_film: MakeFilm, tmp_path: Path, pixel_format: str
) -> None:
    """They became eight, and all of them 4:2:0."""
    film = make_film("a.mkv", moving_scene(2), codec="ffv1", pixel_format=pixel_format)
    enhance_film(film, tmp_path / "out.mkv", Enhancer(device="cpu", strength=0))
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert next(container.decode(video=0)).format.name == pixel_format.replace("12", "10")
    assert supported_format("libsvtav1", pixel_format) == "yuv420p10le"


def test_pixels_that_are_not_kept_are_told(make_film: MakeFilm, tmp_path: Path) -> None:
    """Ten bits of a VP9 film became eight, and wide ones in MKV were shown square, without a word."""
    model = Enhancer(device="cpu", strength=0)
    film = make_film(frames=moving_scene(2), pixel_format="yuv420p10le", shape=Fraction(4, 3))
    assert not enhance_film(film, tmp_path / "a.mkv", model).warnings
    bits, shape = enhance_film(film, tmp_path / "b.mkv", model, FilmOptions("libvpx-vp9")).warnings
    assert "its pixels (yuv420p10le) became yuv420p, the nearest that libvpx-vp9 takes" in bits
    assert "its pixels are not square (4:3), which AV1 and VP9 lose in MKV and WebM" in shape
    assert not enhance_film(film, tmp_path / "c.mp4", model, FilmOptions("libsvtav1")).warnings


@pytest.mark.parametrize(("pixel_format", "kept"), [("yuv411p", "yuv422p"), ("yuv440p", "yuv444p")])
def test_kinds_of_colour_that_no_encoder_takes_get_more_values(
    make_film: MakeFilm, tmp_path: Path, pixel_format: str, kept: str
) -> None:
    film = make_film("a.mkv", moving_scene(2), codec="ffv1", pixel_format=pixel_format)
    enhance_film(film, tmp_path / "out.mkv", Enhancer(device="cpu", strength=0))
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert next(container.decode(video=0)).format.name == kept
    for before, after in zip(read_film(film), read_film(tmp_path / "out.mkv"), strict=True):
        assert np.abs(before.astype(float) - after).mean() < 4


@pytest.mark.skipif(not hasattr(av.VideoCodecContext, "field_order"), reason="PyAV tells it since 18")
@pytest.mark.parametrize(("option", "order"), [("bff=1", 3), ("tff=1", 2)])
def test_the_field_that_comes_first_stays_first(
    make_film: MakeFilm, tmp_path: Path, option: str, order: int
) -> None:
    film, fields = make_film(frames=moving_scene(3)), tmp_path / "fields.mkv"
    with av.open(str(film)) as source, av.open(str(fields), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"x264-params": option})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.flags |= (1 << 18) | (1 << 29)
        for frame in source.decode(video=0):
            frame.pict_type = 0
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    enhance_film(fields, tmp_path / "out.mkv", Enhancer(device="cpu", strength=0))
    for path in (fields, tmp_path / "out.mkv"):
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.field_order == order


def test_a_picture_that_stays_by_empty_packets_does_so_in_the_result(
    make_film: MakeFilm, tmp_path: Path
) -> None:
    """Theora's screen recordings, and films of some cameras, say so; they were refused as invalid."""
    film = make_film("a.mov", moving_scene(40), codec="mjpeg", pixel_format="yuvj420p", ticks=1)
    content = bytearray(film.read_bytes())
    table = content.index(b"stsz") + 16
    sizes = list(struct.unpack_from(">40I", content, table))
    for i in (3, *range(39, 5, -1)):
        sizes[i - 1], sizes[i] = sizes[i - 1] + sizes[i], 0
    struct.pack_into(">40I", content, table, *sizes)
    film.write_bytes(content)
    result = enhance_film(film, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0))
    assert result.frames == 5
    assert not result.warnings
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx([0, 1 / 25, 2 / 25, 4 / 25, 5 / 25])
        assert container.duration / 1e6 == pytest.approx(40 / 25)


def test_a_dv_film_has_its_own_rate(make_film: MakeFilm, tmp_path: Path) -> None:
    """FFmpeg finds 60000 frames a second on average, by which each frame of it had hardly a bit."""
    frames = moving_scene(3, height=576, width=720)
    film = make_film("a.dv", frames, codec="dvvideo", ticks=1)
    enhance_film(film, tmp_path / "out.mkv", Enhancer(device="cpu", strength=0))
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].average_rate == 25
    for before, after in zip(read_film(film), read_film(tmp_path / "out.mkv"), strict=True):
        assert np.abs(before.astype(float) - after).mean() < 2


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265")])
@pytest.mark.parametrize("reorders", [True, False])
def test_a_stream_without_times_gets_those_of_its_rate(
    make_film: MakeFilm, tmp_path: Path, name: str, codec: str, reorders: bool
) -> None:
    """All frames of raw H.264, as from a camera's pipe, were shown within an instant."""
    film = make_film(name, moving_scene(12), codec=codec, rate=30, ticks=1, reorders=reorders)
    enhance_film(film, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0))
    with av.open(str(film)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        assert {frame.time for frame in before.decode(video=0)} == {None}
        times = [frame.time for frame in after.decode(video=0)]
    assert times == pytest.approx([i / 30 for i in range(12)], abs=1e-3)


@pytest.mark.parametrize("name", ["out.mov", "out.ts", "out.mpg"])
@pytest.mark.parametrize("codec", ["libvpx-vp9", "libsvtav1"])
def test_codecs_that_a_container_cannot_hold_become_h264(
    make_film: MakeFilm, tmp_path: Path, name: str, codec: str
) -> None:
    """MOV stopped without a word about the codec, and nothing could read the MPEG streams."""
    assert encoder_for_container(codec, "mp4", None) == codec
    film = make_film("a.mkv", moving_scene(3), codec=codec)
    assert enhance_film(film, tmp_path / name, Enhancer(device="cpu", strength=0)).encoder == "libx264"
    assert len(read_film(tmp_path / name)) == 3
    with pytest.raises(UsageError, match=f"{codec} makes a film that the container .* cannot hold"):
        enhance_film(film, tmp_path / name, Enhancer(device="cpu", strength=0), FilmOptions(codec))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no list of threads")
def test_no_thread_goes_before_all_others(make_film: MakeFilm, tmp_path: Path) -> None:
    """Started by root, SVT-AV1 made its threads and its caller's real-time ones, and later films hung."""
    film = make_film("a.mkv", moving_scene(3))
    enhancer = Enhancer(device="cpu", strength=0)
    enhance_film(film, tmp_path / "out.mkv", enhancer, FilmOptions("libsvtav1"))
    threads = [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
