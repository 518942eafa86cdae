"""Films that are odd, broken or cut short, and outputs that end early: what is said about them."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rave_runtime import Enhancer, PhotoError, UsageError
from rave_runtime.films.containers import container_of
from rave_runtime.films.dividing import FilmOptions
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.opening import open_film

from .conftest import Frames, MakeFilm, av, moving_scene, read_film

PROGRAM = [sys.executable, "-c", "from rave_runtime.cli import main; main()"]


class Closed(io.RawIOBase):
    """A pipe whose reader goes after some bytes, or a full disk."""

    def __init__(self, room: int, error: OSError) -> None:
        self.room, self.error = room, error

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        size = len(bytes(data))  # type: ignore[call-overload]
        self.room -= size
        if self.room < 0:
            raise self.error
        return int(size)


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device")]
)
@pytest.mark.parametrize("room", [0, 6000])
def test_an_output_that_ends_early_is_told_as_it_is(
    model: Enhancer, make_film: MakeFilm, error: OSError, room: int
) -> None:
    film = make_film(frames=moving_scene(10))
    with pytest.raises(OSError, match=r"Broken pipe|No space") as caught:
        enhance_film(film, Closed(room, error), model)  # type: ignore[arg-type]
    assert caught.value is error


def test_a_player_that_closes_is_no_traceback(make_film: MakeFilm) -> None:
    film = make_film("a.ts", moving_scene(40))
    with (
        film.open("rb") as source,
        subprocess.Popen(
            [*PROGRAM, "-", "-", "--film"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running,
    ):
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(10)
        running.stdout.close()
        said = running.stderr.read().decode()
    assert said == "rave-run: standard output was closed by its reader\n"
    assert running.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_is_said_in_a_line(make_film: MakeFilm) -> None:
    film = make_film(frames=moving_scene(4))
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, str(film), "-"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.stderr.decode().startswith("rave-run: ")
    assert "no space" in done.stderr.decode().lower()
    assert done.stderr.decode().count("\n") == 1
    assert done.returncode in (1, 2)


def odd_scene() -> Frames:
    return [np.ascontiguousarray(frame[:95, :127]) for frame in moving_scene(3)]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "full"),
    [
        ("a.mkv", "ffv1", "yuv420p", False),
        ("a.mov", "mjpeg", "yuvj420p", True),
        ("b.mkv", "ffv1", "yuv422p", False),
    ],
)
@pytest.mark.parametrize("encoder", [None, "libx265", "libvpx-vp9"])
def test_films_of_odd_sizes_keep_their_size(
    model: Enhancer,
    make_film: MakeFilm,
    tmp_path: Path,
    name: str,
    codec: str,
    pixel_format: str,
    full: bool,
    encoder: str | None,
) -> None:
    film = make_film(name, odd_scene(), codec=codec, pixel_format=pixel_format, full_range=full)
    result = enhance_film(film, tmp_path / "out.mkv", model, FilmOptions(encoder))
    assert ["some players do not show" in note for note in result.warnings] == [True] * (
        encoder != "libvpx-vp9"
    )
    before, after = read_film(film), read_film(tmp_path / "out.mkv")
    assert [frame.shape for frame in after] == [(95, 127, 3)] * 3
    assert after[1][60:].mean() > 1.2 * before[1][60:].mean()
    assert abs(after[1][:25].mean() - before[1][:25].mean()) < 0.15 * before[1][:25].mean()


class Pipe(io.RawIOBase):
    """A film from a pipe, which cannot be sought in."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._stream.readinto(buffer)


def test_a_film_with_its_table_at_the_end_cannot_come_from_a_pipe(
    model: Enhancer, make_film: MakeFilm
) -> None:
    content = make_film(frames=moving_scene(30, noise=20)).read_bytes()
    assert len(content) > 100_000, "FFmpeg keeps the beginning, so a small film could be read"
    pipe = io.BufferedReader(Pipe(content))  # type: ignore[type-var]
    with pytest.raises(PhotoError, match=r"has its table of contents at its end.*-movflags faststart"):
        enhance_film(pipe, io.BytesIO(), model, FilmOptions(live=True))
    assert enhance_film(io.BytesIO(content), io.BytesIO(), model, FilmOptions(live=True)).frames == 30


def test_an_hdr_film_of_which_only_the_container_says_so_stays_one(model: Enhancer, tmp_path: Path) -> None:
    """Where the codec's own data say nothing, decoding forgets what Matroska states."""
    film = tmp_path / "hdr.mkv"
    with av.open(str(film), "w") as output:
        stream = output.add_stream(
            "libx264", rate=25, options={"x264-params": "colorprim=bt709:transfer=undef"}
        )
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.color_trc = 1
        frame = av.VideoFrame.from_ndarray(moving_scene(1)[0], "rgb24")
        output.mux([*stream.encode(frame), *stream.encode()])
    assert enhance_film(film, tmp_path / "sdr.mkv", model).frames == 1
    film.write_bytes(film.read_bytes().replace(b"\x55\xba\x81\x01", b"\x55\xba\x81\x10"))
    enhance_film(film, tmp_path / "out.mkv", model)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert int(next(container.decode(video=0)).color_trc) == 16


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"), [("a.mkv", "ffv1", "yuva420p"), ("a.mov", "prores_ks", "yuva444p10le")]
)
def test_transparent_films_are_refused_by_name(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, name: str, codec: str, pixel_format: str
) -> None:
    film = make_film(name, moving_scene(2), codec=codec, pixel_format=pixel_format)
    with pytest.raises(PhotoError, match="is transparent, which cannot be kept: convert it"):
        enhance_film(film, tmp_path / "out.mkv", model)


def test_transparency_beside_the_frames_of_vp9_is_refused_too(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path
) -> None:
    film = make_film("a.webm", moving_scene(2), codec="libvpx-vp9", pixel_format="yuva420p")
    with av.open(str(film)) as container:
        assert container.streams.video[0].metadata["alpha_mode"] == "1"
    with pytest.raises(PhotoError, match="is transparent"):
        enhance_film(film, tmp_path / "out.webm", model)


def test_encrypted_films_are_refused_by_name(model: Enhancer, make_film: MakeFilm, tmp_path: Path) -> None:
    """A few frames of noise were taken for the film, or it was said that no frame can be decoded."""
    film, encrypted = make_film(), tmp_path / "encrypted.mp4"
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "1a" * 16, "encryption_kid": "2b" * 16}
    with av.open(str(film)) as source, av.open(str(encrypted), "w", options=options) as output:
        twin = output.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size]:
            packet.stream = twin
            output.mux(packet)
    with pytest.raises(PhotoError, match="is encrypted by copy protection"):
        enhance_film(encrypted, tmp_path / "out.mp4", model)


def test_a_codec_that_nobody_knows_is_said_so(model: Enhancer, make_film: MakeFilm, tmp_path: Path) -> None:
    """It was a traceback."""
    film = make_film()
    film.write_bytes(film.read_bytes().replace(b"avc1" + bytes(7) + b"\1", b"zzzz" + bytes(7) + b"\1"))
    with pytest.raises(PhotoError, match="is coded in a way that FFmpeg does not know"):
        enhance_film(film, tmp_path / "out.mp4", model)


def whole_frames(film: Path) -> int:
    """How many frames a decoder of one thread gives, which loses none to a broken one after them."""
    count = 0
    with av.open(str(film)) as container:
        container.streams.video[0].thread_type = "NONE"
        for packet in container.demux(video=0):
            with contextlib.suppress(av.error.InvalidDataError):
                count += 0 if packet.is_corrupt else len(packet.decode())
    return count


@pytest.mark.parametrize(
    ("name", "codec", "note"),
    [
        ("a.mkv", "libx264", r"its file ends early: \d\.\d of 2\.0 seconds are in it"),
        ("a.avi", "libx264", r"its file ends early: \d\.\d of 2\.0 seconds are in it"),
        ("a.mp4", "libx264", r"its file ends early: \d+ of 50 frames are in it"),
    ],
)
def test_a_film_that_was_cut_short_is_noticed(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, name: str, codec: str, note: str
) -> None:
    film = make_film(name, moving_scene(50, 48, 64), codec=codec, sound=True)
    assert enhance_film(film, tmp_path / f"whole{film.suffix}", model).warnings == []
    if name == "a.mp4":  # the table must come first
        with (
            av.open(str(film)) as source,
            av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as output,
        ):
            stream = source.streams.video[0]
            twin = output.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = twin
                    output.mux(packet)
        film = tmp_path / "fast.mp4"
    cut = tmp_path / f"cut{film.suffix}"
    cut.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    result = enhance_film(cut, tmp_path / f"out{film.suffix}", model)
    assert 0 < result.frames < 50
    assert result.frames == whole_frames(cut), "the frames before the one whose end is missing were lost"
    assert any(re.fullmatch(note, warning) for warning in result.warnings), result.warnings


TS_PACKET = 188


def test_a_recording_that_begins_between_key_frames_is_noticed(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path
) -> None:
    """Its first frames were left out without a word."""
    film = make_film("a.ts", moving_scene(50), codec="mpeg2video", sound=True, ticks=1)
    content = film.read_bytes()
    film.write_bytes(content[len(content) // 6 // TS_PACKET * TS_PACKET :])
    result = enhance_film(film, tmp_path / "out.mkv", model)
    assert 20 < result.frames < 45
    (note,) = result.warnings
    assert re.fullmatch(r"its first 0\.\d seconds were left out: the key frame .*", note)


def test_frames_that_are_damaged_on_the_way_are_counted(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path
) -> None:
    """They were shown as if they were whole."""
    film = make_film("a.ts", moving_scene(50), reorders=False, ticks=1)
    content = film.read_bytes()
    lost = len(content) // 2 // TS_PACKET * TS_PACKET
    film.write_bytes(content[:lost] + content[lost + TS_PACKET :])
    result = enhance_film(film, tmp_path / "out.mkv", model)
    assert result.frames == 50
    (note,) = result.warnings
    assert re.fullmatch(r"(a frame of it is|\d+ of its frames are) damaged, also in the result", note)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi", ".flv", ".wmv"])
def test_a_slow_film_that_is_whole_is_not_taken_for_a_part(
    model: Enhancer, make_film: MakeFilm, tmp_path: Path, ending: str
) -> None:
    film = make_film(f"slow{ending}", moving_scene(12, 48, 64), rate=1)
    assert enhance_film(film, tmp_path / f"out{ending}", model).warnings == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty (0 bytes)"),
        (b"no film " * 400, "cannot be opened as a film: it is damaged, cut short, or not a film"),
    ],
)
def test_what_is_no_film_is_said_in_plain_words(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(content)
    with file.open("rb") as stream:
        for source in (file, stream):
            with pytest.raises(PhotoError) as caught, open_film(source):
                raise AssertionError("it was opened")
            assert str(caught.value) == reason


def test_names_that_are_no_film_s_or_only_read_are_refused() -> None:
    assert container_of(Path("a.WMV")) == "asf"
    with pytest.raises(UsageError, match=r"a\.ogv cannot be written, .* OUTPUT that ends in \.mkv"):
        container_of(Path("a.ogv"))
    with pytest.raises(UsageError, match=r"a\.txt is not the name of a film: give one of \.mp4"):
        container_of(Path("a.txt"))


def test_a_title_that_is_no_utf_8_does_not_stop_a_film(make_film: MakeFilm, tmp_path: Path) -> None:
    """PyAV up to 18 must be told so, and PyAV 19 does not know the word by which it is told."""
    film = make_film("a.mkv", moving_scene(3), metadata={"title": "abcXYZ"})
    film.write_bytes(film.read_bytes().replace(b"abcXYZ", b"abc\xff\xfeZ"))
    enhance_film(film, tmp_path / "out.mkv", Enhancer(device="cpu", threads=1))
    with open_film(tmp_path / "out.mkv") as result:
        assert result.metadata["title"].startswith("abc")
