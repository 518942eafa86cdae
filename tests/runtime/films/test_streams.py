"""What a film's file holds beside the enhanced video: covers, further video streams, and their marks."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer, PhotoError
from rave_runtime.films.dividing import FilmOptions
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.opening import is_cover, open_film

from .conftest import MakeFilm, av, moving_scene

COVER = io.BytesIO()
Image.new("RGB", (48, 48), "red").save(COVER, "JPEG")


def remux(film: Path, target: Path, streams: list[tuple[int, int]], cover: bytes = b"") -> Path:
    """Copies streams of a film, by index and disposition, into another file, perhaps with a cover."""
    with av.open(str(target), "w") as output:
        sources = [av.open(str(film)) for _ in streams]  # a stream may be copied twice
        if cover:
            output.add_attachment("cover.jpg", "image/jpeg", cover)
        pairs = []
        for source, (index, disposition) in zip(sources, streams, strict=True):
            stream = source.streams[index]
            twin = output.add_stream_from_template(stream)
            twin.disposition = disposition
            pairs.append((source, stream, twin))
        for source, stream, twin in pairs:
            for packet in source.demux(stream):
                if packet.dts is not None or packet.size:
                    packet.stream = twin
                    output.mux(packet)
            source.close()
    return target


@pytest.fixture
def with_cover(make_film: MakeFilm, tmp_path: Path) -> Path:
    """An MKV with a cover."""
    film = make_film(frames=moving_scene(3))
    return remux(film, tmp_path / "covered.mkv", [(0, 1)], COVER.getvalue())


def covers(film: Path) -> list[bytes]:
    with av.open(str(film)) as container:
        return [
            bytes(packet)
            for packet in container.demux()
            if packet.size and packet.stream.type == "video" and int(packet.stream.disposition.value) & 1024
        ]


def test_cover_pictures_are_kept_as_covers(model: Enhancer, with_cover: Path, tmp_path: Path) -> None:
    as_mp4 = tmp_path / "covered.mp4"
    assert enhance_film(with_cover, as_mp4, model).warnings == []
    assert covers(as_mp4) == [COVER.getvalue()]
    for source in (with_cover, as_mp4):
        target = tmp_path / "again.mkv"
        result = enhance_film(source, target, model, FilmOptions(again=True))
        assert result.frames == 3
        assert covers(target) == [COVER.getvalue()]
        target.unlink()


@pytest.mark.parametrize("name", ["out.mov", "out.avi"])
def test_a_cover_picture_without_a_place_is_named(
    model: Enhancer, with_cover: Path, tmp_path: Path, name: str
) -> None:
    result = enhance_film(with_cover, tmp_path / name, model)
    assert result.warnings == ["its cover picture was left out: that kind of file has no place for it"]
    assert covers(tmp_path / name) == []


def test_music_with_a_cover_is_no_film(model: Enhancer, make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(2), sound=True)
    music = remux(film, tmp_path / "music.mkv", [(1, 1)], COVER.getvalue())
    with pytest.raises(PhotoError, match="holds no moving picture, but sound with a cover picture"):
        enhance_film(music, tmp_path / "out.mp4", model)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(("name", "ending"), [("two.mkv", ".mkv"), ("two.mp4", ".mp4"), ("two.mkv", ".mp4")])
@pytest.mark.parametrize("chosen", [0, 1])
def test_the_stream_that_players_show_is_enhanced_and_stays_the_one(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, name: str, ending: str, chosen: int
) -> None:
    film = make_film(frames=moving_scene(3))
    two = remux(film, tmp_path / name, [(0, int(chosen == i)) for i in range(2)])
    enhance_film(two, tmp_path / f"out{ending}", model)
    with av.open(str(tmp_path / f"out{ending}")) as container:
        assert [int(stream.disposition.value) & 1 for stream in container.streams.video] == [1, 0]
        frames: dict[int, list[Any]] = {0: [], 1: []}
        for packet in container.demux(video=(0, 1)):
            frames[packet.stream.index] += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
    assert [len(frames[i]) for i in range(2)] == [3, 3], "Matroska's first packets have no decoding times"
    enhanced, other = (np.mean([frame[60:].mean() for frame in frames[i]]) for i in range(2))
    assert enhanced > 1.2 * other


def test_a_cover_is_told_from_a_film(make_film: MakeFilm) -> None:
    """The text of a disposition is a number since Python 3.11, so that no cover was found by its name."""
    with open_film(make_film(frames=moving_scene(2), sound=True)) as container:
        assert [is_cover(stream) for stream in container.streams] == [False, False]


def with_data(target: Path, kind: bytes) -> Path:
    """Writes a film with a time code and a track of data of a camera, whose four letters are given."""
    with av.open(str(target), "w") as output:
        stream, data = output.add_stream("libx264", rate=25), output.add_data_stream("bin_data")
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.metadata["timecode"] = "01:02:03:04"
        for pixels in moving_scene(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        output.mux(stream.encode())
        for i in range(3):
            packet = av.Packet(b"a place %d" % i)
            packet.stream, packet.time_base, packet.duration = data, Fraction(1, 1000), 40
            packet.pts = packet.dts = 40 * i
            output.mux(packet)
    target.write_bytes(target.read_bytes().replace(b"gpmd", kind))
    return target


def time_code_of(film: Path) -> str:
    with av.open(str(film)) as container:
        tags = {key.lower(): str(text) for key, text in container.streams.video[0].metadata.items()}
    return tags.get("timecode", "")


DATA_NOTE = "its data stream 1 was left out: that kind of file has no place for it"


@pytest.mark.parametrize(
    ("kind", "name", "notes", "places"),
    [
        (b"gpmd", "out.mp4", [], 3),
        (b"djmd", "out.mp4", [DATA_NOTE], 0),
        (b"mebx", "out.mov", [], 3),
        (b"mebx", "out.mkv", [DATA_NOTE], 0),
    ],
)
def test_data_and_time_codes_of_cameras_stop_no_film(
    tmp_path: Path, kind: bytes, name: str, notes: list[str], places: int
) -> None:
    """Tracks that are refused only with the header made the whole film fail, and so did any time code."""
    film = with_data(tmp_path / "data.mp4", kind)
    assert time_code_of(film) == "01:02:03:04"
    result = enhance_film(film, tmp_path / name, Enhancer(device="cpu", strength=0))
    assert (result.frames, result.warnings) == (3, notes)
    assert time_code_of(tmp_path / name) == "01:02:03:04"
    with av.open(str(tmp_path / name)) as container:
        packets = [bytes(packet) for packet in container.demux() if packet.stream.type == "data"]
    assert sum(packet.startswith(b"a place") for packet in packets) == places


def test_what_has_no_place_is_named_once(tmp_path: Path) -> None:
    """A film has a time code for each stream of video, and there was a note for each."""
    film = tmp_path / "two.mov"
    with av.open(str(film), "w") as output:
        for code in ("01:02:03:04", "05:06:07:08"):
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            stream.metadata["timecode"] = code
        for stream in output.streams.video:
            frame = av.VideoFrame.from_ndarray(moving_scene(1)[0], "rgb24")
            output.mux([*stream.encode(frame), *stream.encode()])
    with av.open(str(film)) as container:
        assert len(container.streams) == 4
    result = enhance_film(film, tmp_path / "out.flv", Enhancer(device="cpu", strength=0))
    assert sum("time code was left out" in note for note in result.warnings) == 1


@pytest.mark.parametrize(("name", "is_held"), [("out.ts", False), ("out.flv", False), ("out.mov", True)])
def test_sound_that_could_not_be_read_back_is_named(
    make_film: MakeFilm, tmp_path: Path, name: str, is_held: bool
) -> None:
    """It was lost without a word in MPEG streams, and FFmpeg ended the program at an FLV."""
    film, loud = make_film(frames=moving_scene(3)), tmp_path / "loud.mkv"
    with av.open(str(film)) as source, av.open(str(loud), "w") as output:
        twin = output.add_stream_from_template(source.streams.video[0])
        voice = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        for packet in [packet for packet in source.demux(video=0) if packet.size]:
            packet.stream = twin
            output.mux(packet)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), "s16", "mono")
        part.sample_rate, part.pts = 16000, 0
        output.mux([*voice.encode(part), *voice.encode()])
    result = enhance_film(loud, tmp_path / name, Enhancer(device="cpu", strength=0))
    note = "its audio stream 1 was left out: that kind of file has no place for it"
    assert result.warnings[: None if is_held else 1] == ([] if is_held else [note])
    with av.open(str(tmp_path / name)) as container:
        assert [stream.type for stream in container.streams] == ["video"] + ["audio"] * is_held


def add_sound(film: Path, loud: Path, codec: str, layout: str) -> None:
    """Writes a film with a second of a tone."""
    with av.open(str(film)) as source, av.open(str(loud), "w") as output:
        twin = output.add_stream_from_template(source.streams.video[0])
        voice = output.add_stream(codec, rate=8000, layout=layout)
        for packet in [packet for packet in source.demux(video=0) if packet.size]:
            packet.stream = twin
            output.mux(packet)
        tone = (np.sin(np.arange(8080) / 6) * 9000).astype(np.int16)
        part = av.AudioFrame.from_ndarray(np.repeat(tone, voice.layout.nb_channels)[None], "s16", layout)
        part.sample_rate, part.pts = 8000, 0
        output.mux([*voice.encode(part), *voice.encode()])


def sound_of(film: Path) -> list[int]:
    with av.open(str(film)) as container:
        return [int(value) for frame in container.decode(audio=0) for value in frame.to_ndarray()[0]]


@pytest.mark.parametrize("codec", ["pcm_mulaw", "pcm_alaw"])
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov"])
def test_the_sound_of_surveillance_cameras_is_heard_in_the_result(
    make_film: MakeFilm, tmp_path: Path, codec: str, name: str
) -> None:
    """MKV lost the G.711 that it had held, since PyAV does not copy it there, and so did MP4."""
    film, loud = make_film(frames=moving_scene(3)), tmp_path / "loud.mov"
    add_sound(film, loud, codec, "mono")
    result = enhance_film(loud, tmp_path / name, Enhancer(device="cpu", strength=0))
    note = f"its audio stream 1 ({codec}) became PCM, which loses nothing"
    assert [text.partition(":")[0] for text in result.warnings] == ([] if name == "out.mov" else [note])
    assert len(sound_of(loud)) >= 8000
    assert sound_of(tmp_path / name) == sound_of(loud)


@pytest.mark.parametrize(
    ("codec", "ending"), [("pcm_s16le", "avi"), ("pcm_alaw", "avi"), ("pcm_s16le", "mkv")]
)
def test_stereo_whose_channels_are_not_named_becomes_an_mp4(
    make_film: MakeFilm, tmp_path: Path, codec: str, ending: str
) -> None:
    """FFmpeg failed with "Invalid argument" when all the work was done."""
    film, loud = make_film("a.avi", moving_scene(3)), tmp_path / f"loud.{ending}"
    add_sound(film, loud, codec, "stereo")
    enhance_film(loud, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0))
    assert len(sound_of(loud)) >= 16000
    assert sound_of(tmp_path / "out.mp4") == sound_of(loud)


@pytest.mark.parametrize("name", ["out.ts", "out.mp4", "out.mkv"])
def test_sound_whose_times_stand_still_stops_no_film(make_film: MakeFilm, tmp_path: Path, name: str) -> None:
    """FFmpeg refused it, and the film ended with "Invalid argument" when all the work was done."""
    film, broken = make_film(sound=True), tmp_path / "broken.mkv"
    with av.open(str(film)) as source, av.open(str(broken), "w") as output:
        twins = [output.add_stream_from_template(stream) for stream in source.streams]
        for packet in [packet for packet in source.demux() if packet.size]:
            if packet.stream.type == "audio":
                packet.pts = packet.dts = 2048 * (packet.pts // 2048)
            packet.stream = twins[packet.stream.index]
            output.mux(packet)
    assert enhance_film(broken, tmp_path / name, Enhancer(device="cpu", strength=0)).frames == 12
    sounds = []
    for each in (broken, tmp_path / name):
        with av.open(str(each)) as container:
            sounds.append(len([packet for packet in container.demux(audio=0) if packet.size]))
    assert sounds[0] == sounds[1] > 4


def test_chapters_without_a_place_are_named(make_film: MakeFilm, tmp_path: Path) -> None:
    film = make_film(frames=moving_scene(3), chapters=True)
    for name, is_held in (("out.mkv", True), ("out.avi", False)):
        result = enhance_film(film, tmp_path / name, Enhancer(device="cpu", strength=0))
        note = "its chapters were left out: that kind of file has no place for them"
        assert result.warnings == ([] if is_held else [note])


@pytest.mark.parametrize("name", ["out.ts", "out.mp4", "out.mkv", "out.mov"])
def test_sound_that_nobody_knows_is_left_out_with_a_note(
    make_film: MakeFilm, tmp_path: Path, name: str
) -> None:
    """Phones put spatial sound (apac) beside the other; films with it ended in a traceback."""
    film = make_film(sound=True)
    content = film.read_bytes().replace(b"mp4a" + bytes(7) + b"\1", b"apac" + bytes(7) + b"\1")
    film.write_bytes(content.replace(b"esds", b"dapa"))
    result = enhance_film(film, tmp_path / name, Enhancer(device="cpu", strength=0))
    assert result.frames == 12
    note = "its audio stream 1 was left out: that kind of file has no place for it"
    assert result.warnings == [note]
