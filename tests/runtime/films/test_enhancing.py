"""A film from file to file: what is kept, what is refused, and that no file is ever torn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rave_runtime import Enhancer, PhotoError, UsageError
from rave_runtime.films import dividing
from rave_runtime.films.containers import is_film
from rave_runtime.films.dividing import FilmOptions
from rave_runtime.films.encoding import choose_encoder, quality_of
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.opening import FilmInfo
from rave_runtime.films.plane_format import PlaneFormat

from .conftest import MakeFilm, av, moving_scene, read_film


def test_shadows_rise_and_the_sky_stays(model: Enhancer, make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film()
    result = enhance_film(film, tmp_path / "out.mp4", model)
    assert (result.frames, result.width_px, result.height_px, result.warnings) == (12, 128, 96, [])
    for before, after in zip(read_film(film), read_film(tmp_path / "out.mp4"), strict=True):
        assert after[60:].mean() > 1.2 * before[60:].mean()
        assert abs(after[:25].mean() - before[:25].mean()) < 0.15 * before[:25].mean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "out.mp4"]


def test_it_is_what_a_photograph_of_each_frame_would_be(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path
) -> None:
    still = make_film(frames=moving_scene(8, step_px=0, noise=0))
    enhance_film(still, tmp_path / "out.mp4", model)
    before, after = read_film(still)[-1], read_film(tmp_path / "out.mp4")[-1]
    expected = model.enhance(before).astype(float)
    assert np.abs(after - expected).mean() < 4


def test_strength_0_changes_nothing_but_the_coding(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film()
    enhance_film(film, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0))
    for before, after in zip(read_film(film), read_film(tmp_path / "out.mp4"), strict=True):
        assert np.abs(before.astype(float) - after).mean() < 3


def test_highlights_alone_change_bright_parts_alone(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film()
    plain, bright = tmp_path / "plain.mp4", tmp_path / "bright.mp4"
    enhance_film(film, plain, Enhancer(device="cpu", strength=0))
    enhance_film(film, bright, Enhancer(device="cpu", strength=0, highlights=2))
    sky, ground = (
        [read_film(path)[-1][rows].mean() for path in (plain, bright)]
        for rows in (slice(25), slice(60, None))
    )
    changes = [side[1] - side[0] for side in (sky, ground)]
    assert abs(changes[0]) > 0.5, changes  # of a sky that was exposed well there is little to change
    assert abs(changes[1]) < abs(changes[0]) / 4


def test_sound_times_rotation_chapters_and_tags_are_kept(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path
) -> None:
    times = [0, 10, 25, 31, 50, 60, 90, 100, 110, 127, 130, 140]
    film = make_film(
        sound=True, times=times, rotation=90, chapters=True, metadata={"title": "Holiday", "artist": "Ada"}
    )
    enhance_film(film, tmp_path / "out.mp4", model)
    with av.open(str(film)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        assert after.metadata["title"] == "Holiday"
        assert after.metadata["artist"] == "Ada"
        assert [c["metadata"]["title"] for c in after.chapters()] == ["One"]
        assert [stream.type for stream in after.streams][:2] == ["video", "audio"]
        sounds = [
            b"".join(bytes(packet) for packet in container.demux(audio=0)) for container in (before, after)
        ]
        assert sounds[0] == sounds[1] != b""
    with av.open(str(film)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        kept = [[(frame.time, frame.rotation) for frame in c.decode(video=0)] for c in (before, after)]
    assert [time for time, _ in kept[0]] == pytest.approx([time for time, _ in kept[1]], abs=1e-3)
    assert {turn for _, turn in kept[1]} == {turn for _, turn in kept[0]} != {0}


def test_a_last_frame_that_stays_for_seconds_does_so_in_the_result(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path
) -> None:
    film, recording = make_film(frames=moving_scene(4), reorders=False), tmp_path / "recording.mp4"
    with av.open(str(film)) as source, av.open(str(recording), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size]:
            packet.stream = stream
            if packet.pts * packet.time_base > 0.1:
                packet.duration = int(5 / packet.time_base)
            output.mux(packet)
    enhance_film(recording, tmp_path / "out.mp4", model)
    seconds = []
    for path in (recording, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            seconds.append(container.duration / 1e6)
    assert seconds == [pytest.approx(5.12, abs=0.01)] * 2


@pytest.mark.parametrize("reorders", [False, True])
def test_frames_of_an_avi_come_at_even_times_and_begin_with_its_sound(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, reorders: bool
) -> None:
    film = make_film("film.avi", moving_scene(20), reorders=reorders, ticks=1)
    enhance_film(film, tmp_path / "out.avi", model)
    with av.open(str(tmp_path / "out.avi")) as container:
        assert [packet.dts for packet in container.demux(video=0) if packet.size] == list(range(20))
        assert not container.streams.video[0].codec_context.has_b_frames
    for before, after in zip(read_film(film), read_film(tmp_path / "out.avi"), strict=True):
        assert np.abs(before[:25].astype(float) - after[:25]).mean() < 9


@pytest.mark.parametrize(
    ("pixel_format", "full"),
    [("yuv420p", False), ("yuv422p", False), ("yuv444p", False), ("yuv420p10le", False), ("yuvj420p", True)],
)
def test_pixel_formats_and_ranges_are_kept(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, pixel_format: str, full: bool
) -> None:
    film = make_film(pixel_format=pixel_format, full_range=full)
    enhance_film(film, tmp_path / "out.mp4", model)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == pixel_format
        assert int(frame.color_range) == (2 if full else 1)
        assert (int(frame.colorspace), int(frame.color_primaries)) == (1, 1)
    assert read_film(tmp_path / "out.mp4")[3][60:].mean() > 1.2 * read_film(film)[3][60:].mean()


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "written"),
    [
        ("a.avi", "rawvideo", "bgr24", "yuv420p"),
        ("a.mov", "png", "rgb24", "yuv420p"),
        ("a.mkv", "ffv1", "bgr0", "yuv420p"),
        ("a.mkv", "ffv1", "gbrp10le", "yuv420p10le"),
    ],
)
def test_films_in_rgb_become_what_players_show(
    make_film: MakeFilm, tmp_path: Path, name: str, codec: str, pixel_format: str, written: str
) -> None:
    """They were refused."""
    frames = [(frame * (1, 0.5, 0.2)).astype(np.uint8) for frame in moving_scene(3)]
    film = make_film(name, frames, codec=codec, pixel_format=pixel_format, rotation=90)
    result = enhance_film(
        film, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0), FilmOptions(quality=90)
    )
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == written
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
        assert frame.rotation == (90 if name != "a.avi" else 0)
    assert not result.warnings
    for before, after in zip(read_film(film), read_film(tmp_path / "out.mp4"), strict=True):
        difference = after.astype(float) - before
        assert np.abs(difference.mean((0, 1))).max() < 2.5


@pytest.mark.parametrize("name", ["out.avi", "out.wmv"])
def test_no_frame_is_reordered_where_there_are_no_times_of_display(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, name: str
) -> None:
    """The picture of a WMV came two frames after its sound."""
    enhance_film(make_film(frames=moving_scene(12)), tmp_path / name, model)
    with av.open(str(tmp_path / name)) as container:
        kinds = [int(frame.pict_type) for frame in container.decode(video=0)]
    assert len(kinds) == 12
    assert set(kinds) <= {1, 2}, "FFmpeg's numbers of I and P"


@pytest.mark.parametrize("name", ["out.mkv", "out.mov", "out.ts", "out.avi", "out.webm"])
def test_other_containers(model: Enhancer, make_film: MakeFilm, tmp_path: Path, name: str) -> None:
    enhance_film(make_film(frames=moving_scene(4)), tmp_path / name, model)
    assert len(read_film(tmp_path / name)) == 4


@pytest.mark.parametrize("count", [1, 2])
def test_hevc_of_one_or_two_frames_is_written(make_film: MakeFilm, tmp_path: Path, count: int) -> None:
    """x265 gave their packets decoding times of millions of years ago."""
    film = make_film("a.mkv", moving_scene(count), codec="libx265")
    result = enhance_film(film, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0))
    assert (result.frames, result.encoder) == (count, "libx265")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.demux(video=0)).dts == 0


def test_what_is_no_film_is_said(model: Enhancer, tmp_path: Path, make_film: MakeFilm) -> None:
    (tmp_path / "text.mp4").write_text("not a film at all")
    with pytest.raises(PhotoError, match="cannot be opened as a film"):
        enhance_film(tmp_path / "text.mp4", tmp_path / "out.mp4", model)
    with pytest.raises(UsageError, match=r"out.doc is not the name of a film: give one of .mp4"):
        enhance_film(make_film(), tmp_path / "out.doc", model)
    with pytest.raises(UsageError, match="--film-encoder libnothing is not an encoder"):
        enhance_film(make_film(), tmp_path / "out.mp4", model, FilmOptions(encoder="libnothing"))
    assert is_film("A.MOV")
    assert not is_film("a.jpg")


def test_a_failure_leaves_the_old_file_whole(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film()
    (tmp_path / "out.mp4").write_bytes(b"the old one")
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 5:
            raise MemoryError

    monkeypatch.setattr(dividing, "relight_planes", fail)
    with pytest.raises(PhotoError, match="does not fit into memory"):
        enhance_film(film, tmp_path / "out.mp4", model)
    assert (tmp_path / "out.mp4").read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "out.mp4"]


def test_broken_packets_are_left_out_and_said(model: Enhancer, make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film("film.ts", moving_scene(40))
    content = bytearray(film.read_bytes())
    middle = len(content) // 2 // 188 * 188
    for packet in range(middle, middle + 188 * 12, 188):
        content[packet + 20 : packet + 170] = bytes(150)
    film.write_bytes(content)
    result = enhance_film(film, tmp_path / "out.ts", model)
    assert 20 <= result.frames <= 40


def test_a_pipe_is_read_and_written_as_it_comes(model: Enhancer, make_film: MakeFilm) -> None:
    class Pipe(io.BytesIO):
        """Can be read or written, and nothing else."""

        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise OSError("a pipe has no places")

        def tell(self) -> int:
            raise OSError("a pipe has no places")

    film = make_film("film.ts", moving_scene(10))
    written = Pipe()
    result = enhance_film(Pipe(film.read_bytes()), written, model, FilmOptions(live=True))
    assert result.frames == 10
    with av.open(io.BytesIO(written.getvalue()), format="mpegts") as container:
        assert len(list(container.decode(video=0))) == 10


def test_quality_follows_the_input() -> None:
    layout = PlaneFormat(8, 2, 2, False)

    def info(bits_per_pixel: float | None, codec: str = "h264") -> FilmInfo:
        return FilmInfo(codec, 1920, 1080, "yuv420p", layout, 25, bits_per_pixel, 0, False)  # type: ignore[arg-type]

    assert quality_of(info(0.07), "libx264", None) == 21
    assert quality_of(info(0.14), "libx264", None) == 15
    assert quality_of(info(0.0175), "libx264", None) == 33
    assert quality_of(info(None), "libx264", None) == 21
    assert quality_of(info(0.07), "libx264", 100) < quality_of(info(0.07), "libx264", 50)
    assert choose_encoder(info(0.1, "hevc"), None) == "libx265"
    assert choose_encoder(info(0.1, "mpeg4"), None) == "libx264"


def test_size_stays_like_the_inputs(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(25))
    enhance_film(film, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0))
    assert (tmp_path / "out.mp4").stat().st_size < 1.5 * film.stat().st_size
