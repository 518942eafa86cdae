"""Files that are named like films: only containers that hold their film themselves are opened."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from rave_runtime import PhotoError
from rave_runtime.films.opening import open_film

from .conftest import MakeFilm

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
