"""Containers of films: what is named like one opens no other file, and what their packets hold is kept."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pytest

from rave_runtime import Enhancer, PhotoError
from rave_runtime.films.containers import is_film
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.opening import open_film

from .conftest import MakeFilm, av, moving_scene

PLAYLISTS = {
    "a list of FFmpeg": "ffconcat version 1.0\nfile 'private.ts'\n",
    "a list of FFmpeg with a folder": "ffconcat version 1.0\nfile 'sub/private.ts'\n",
    "a playlist of HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nprivate.ts\n#EXT-X-ENDLIST\n",
    "a session description": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mpg"])
def test_a_playlist_opens_no_other_file(make_film: MakeFilm, tmp_path: Path, kind: str, ending: str) -> None:
    """A list of files of FFmpeg, called c.mkv, became the film that it names."""
    (tmp_path / "sub").mkdir()
    private = make_film("private.ts")
    (tmp_path / "sub" / "private.ts").write_bytes(private.read_bytes())
    playlist = tmp_path / f"a{ending}"
    playlist.write_text(PLAYLISTS[kind])
    for source in (playlist, io.BytesIO(PLAYLISTS[kind].encode())):
        with (
            pytest.raises(
                PhotoError,
                match=r"^(is not a film, or of a kind|cannot be opened)",
            ),
            open_film(source),
        ):
            raise AssertionError(f"{source} was opened")


@pytest.mark.skipif(os.name != "posix", reason="names with colons")
def test_a_name_that_ffmpeg_would_take_for_several_files_is_a_name(
    make_film: MakeFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film("plain.ts")
    monkeypatch.chdir(tmp_path)
    Path("concat:plain.ts|plain.ts").write_bytes(b"not a film")
    with pytest.raises(PhotoError), open_film(Path("concat:plain.ts|plain.ts")):
        raise AssertionError("another file was opened")
    film.rename("concat:nothing.ts")
    with open_film(Path("concat:nothing.ts")) as container:
        assert container.format.name == "mpegts"


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts"])
def test_films_of_every_ending_are_opened(make_film: MakeFilm, name: str) -> None:
    film = make_film(name)
    for source in (film, io.BytesIO(film.read_bytes())):
        with open_film(source) as container:
            assert len(container.streams.video) == 1


def recorder_file(film: Path) -> bytes:
    """A film of H.264 as Dahua's recorders write it, with times that count from 1970.

    Source: libavformat/dhav.c.
    """
    content = b""
    shape = struct.pack("<4B2H4B", 0x82, 0, 0, 0, 128, 96, 0x81, 0, 2, 25)
    with av.open(str(film)) as container:
        for number, packet in enumerate(packet for packet in container.demux(video=0) if packet.size):
            data = bytes(packet)
            length = 24 + len(shape) + len(data) + 8
            kind = 0xFD if packet.is_keyframe else 0xFC
            date = 26 << 26 | 11 << 22 | 30 << 17 | 2 << 12
            content += struct.pack("<4s4B2I", b"DHAV", kind, 1, 0, 0, number, length)
            content += struct.pack("<IHBB", date, number * 40, len(shape), 0) + shape + data
            content += struct.pack("<4sI", b"dhav", length)
    return content


def test_a_recorder_s_file_is_a_film(make_film: MakeFilm, tmp_path: Path) -> None:
    """The documentation named .dav, and FFmpeg was not allowed to read what recorders write under it."""
    assert is_film("cam.dav")
    recording = tmp_path / "cam.dav"
    recording.write_bytes(recorder_file(make_film("a.ts")))
    enhance_film(recording, tmp_path / "out.mp4", Enhancer(device="cpu", strength=0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 12
    assert max(times) < 1


def with_amr(film: Path, target: Path) -> bytes:
    """Writes a film of 5 frames a second into a 3GP with AMR sound, 5 frames to a packet."""
    sound = b"".join(b"\x3c" + bytes((7 * i + j * j) % 256 for j in range(31)) for i in range(50))
    raw = av.open(io.BytesIO(b"#!AMR\n" + sound), format="amr")
    with raw, av.open(str(film)) as source, av.open(str(target), "w") as output:
        twins = [output.add_stream_from_template(each.streams[0]) for each in (source, raw)]
        for each, twin in zip((source, raw), twins, strict=True):
            for packet in [packet for packet in each.demux(each.streams[0]) if packet.size]:
                packet.stream = twin
                output.mux(packet)
    content = bytearray(target.read_bytes())
    start = content.index(b"samr")
    times, chunks, sizes = (content.index(name, start) + 4 for name in (b"stts", b"stsc", b"stsz"))
    struct.pack_into(">2I", content, times + 8, 10, 800)
    for place in range(chunks + 12, chunks + 8 + 12 * content[chunks + 7], 12):
        content[place + 3] //= 5  # packets in a chunk, all chunks hold 10 frames or more
    struct.pack_into(">2I", content, sizes + 4, 160, 10)
    target.write_bytes(content)
    return sound


@pytest.mark.parametrize("name", ["out.3gp", "out.mov", "out.mp4", "out.mkv"])
def test_sound_of_old_phones_is_kept(make_film: MakeFilm, tmp_path: Path, name: str) -> None:
    """They put several frames into a packet, and no film with such a sound could be written."""
    sound = with_amr(make_film(frames=moving_scene(5), rate=5), tmp_path / "phone.3gp")
    with av.open(str(tmp_path / "phone.3gp")) as container:
        assert [packet.size for packet in container.demux(audio=0)] == [160] * 10 + [0]
    result = enhance_film(tmp_path / "phone.3gp", tmp_path / name, Enhancer(device="cpu", strength=0))
    with av.open(str(tmp_path / name)) as container:
        if name in ("out.3gp", "out.mov"):
            packets = [packet for packet in container.demux(audio=0) if packet.size]
            assert b"".join(map(bytes, packets)) == sound
            assert [packet.pts for packet in packets] == [160 * i for i in range(50)]
            assert not result.warnings
        else:
            assert sum(frame.samples for frame in container.decode(audio=0)) == 160 * 50
            assert "became PCM" in result.warnings[0]
