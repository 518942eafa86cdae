"""Many photographs in one request: reads a zip or a form, and sends a zip while it is being made."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zipfile
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from rave_runtime.photos.formats import usual_ending
from rave_runtime.run.inputs import is_shown
from rave_runtime.run.one_photo import EnhancedPhoto
from rave_runtime.serve.intake import read_form
from rave_runtime.serve.problems import RefusedError, problem_of

_END_RECORD: Final = b"PK\5\6"
_ZIP64_LOCATOR: Final = b"PK\6\7"
_ENTRY_BYTES: Final = 1 << 10
"""Most bytes of an entry in a zip's directory, on average: 46 fixed bytes, a name and some extra data."""

_NEVER_PHOTOGRAPHS: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
"""Files, in lower case, that Windows puts into folders; rave-run passes them over by their endings."""

Source = Callable[[], bytes]
"""A function that returns the bytes of one photograph; it is called when they are needed, by a worker."""


def photographs_of(
    body: bytes, content_type: str, max_photos: int, max_bytes: int
) -> tuple[list[Source], list[tuple[str, str]]]:
    """Returns the photographs of a batch, in order, and the other fields of its form. File names are ignored.

    Args:
        body: a zip, or a form of files; a single file may be a zip.
        content_type: the Content-Type of the request.
        max_photos: most photographs in the batch.
        max_bytes: most bytes of each photograph.

    Raises:
        RefusedError: there are no photographs or too many, or the zip is damaged or of another kind.
    """
    if content_type.split(";")[0].strip().lower() in ("application/zip", "application/x-zip-compressed"):
        files: tuple[bytes, ...] = (body,)
        fields: dict[str, str] = {}
    else:
        form = read_form(body, content_type, max_photos)
        files, fields = form.photographs, form.fields
    if len(files) == 1 and files[0].startswith(b"PK"):
        sources = _zip_sources(files[0], max_photos, max_bytes)
    else:
        sources = [lambda file=file: file for file in files]  # type: ignore[misc]
    if not sources or not any(files):
        raise RefusedError(400, "the batch holds no photograph: send a zip of them, or a form with files")
    return sources, list(fields.items())


def _zip_sources(content: bytes, max_photos: int, max_bytes: int) -> list[Source]:
    """Returns a function for each file of a zip that reads it, after checking the zip's directory.

    What operating systems add to a zip is left out.
    """
    _check_directory(content, max_photos)
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = [entry for entry in archive.infolist() if _is_taken(entry)]
    except (zipfile.BadZipFile, ValueError, struct.error, UnicodeDecodeError, NotImplementedError, OSError):
        raise RefusedError(422, "the zip is damaged or cut short: make it again") from None
    if len(entries) > max_photos:
        raise RefusedError(
            413, f"the zip holds {len(entries)} files, over the {max_photos} allowed: send fewer"
        )

    def source(entry: zipfile.ZipInfo) -> Source:
        return lambda: _read_entry(content, entry, max_bytes)

    return [source(entry) for entry in entries]


def _is_taken(entry: zipfile.ZipInfo) -> bool:
    """Tells whether an entry of a zip may be a photograph: no folder, hidden file or file of the system."""
    parts = [part for part in entry.filename.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if entry.is_dir() or not parts or parts[-1].lower() in _NEVER_PHOTOGRAPHS:
        return False
    return is_shown("/".join(parts))


def _check_directory(content: bytes, max_photos: int) -> None:
    """Refuses a zip whose directory alone would fill the memory, before it is parsed."""
    at = content.rfind(_END_RECORD, max(0, len(content) - 22 - 65535))
    if at < 0 or at + 22 > len(content):
        raise RefusedError(422, "the zip is damaged or cut short: make it again")
    if content[max(0, at - 20) : at].startswith(_ZIP64_LOCATOR):
        raise RefusedError(415, "the zip is a Zip64, which is made for more than 4 GB: send a smaller one")
    count, size = struct.unpack_from("<HI", content, at + 10)
    if count > 4 * max_photos or size > 4 * max_photos * _ENTRY_BYTES:
        raise RefusedError(413, f"the zip holds over {max_photos} photographs: send fewer at a time")


def _read_entry(content: bytes, entry: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """Returns one file of a zip, and never reads more than `max_bytes`, whatever size the zip states."""
    if entry.flag_bits & 1:
        raise RefusedError(415, "the file is encrypted: send it without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError(415, "the file is compressed in another way than Deflate: zip it again")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(entry) as stream:
            data = stream.read(max_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError):
        raise RefusedError(422, "the file is damaged inside its zip: make the zip again") from None
    if len(data) > max_bytes:
        raise RefusedError(413, f"the file is over the limit of {max_bytes >> 20} MiB: shrink it")
    return data


async def stream_zip(
    sources: list[Source],
    enhance: Callable[[Source], Awaitable[EnhancedPhoto]],
    ahead: int,
) -> AsyncGenerator[bytes, None]:
    """Yields a zip of results, piece by piece: 0001.jpg and so on, and `results.json` with a record of each.

    Args:
        sources: the photographs, which are numbered from 1.
        enhance: enhances one of them.
        ahead: how many are in work while one is written.
    """
    sink = _Sink()
    records: list[dict[str, Any]] = []
    pending: deque[asyncio.Future[EnhancedPhoto]] = deque()
    remaining = iter(sources)
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)  # type: ignore[call-overload]
    try:
        for number in range(1, len(sources) + 1):
            for source in remaining:
                pending.append(asyncio.ensure_future(enhance(source)))
                if len(pending) > ahead:
                    break
            record: dict[str, Any] = {"number": number}
            try:
                photo = await pending.popleft()
            except Exception as error:
                problem = problem_of(error)
                if problem is None:
                    problem = RefusedError(500, "the photograph hit a bug in rave-serve: please report it")
                record |= {"status": problem.status, "error": problem.detail}
            else:
                name = f"{number:04}{usual_ending(photo.format)}"
                archive.writestr(zipfile.ZipInfo(name), photo.content)
                size = {"width_px": photo.width_px, "height_px": photo.height_px}
                record |= {"status": 200, "name": name, **size, "warnings": list(photo.warnings)}
            records.append(record)
            yield sink.take()
        archive.writestr(zipfile.ZipInfo("results.json"), json.dumps(records, indent=1))
        archive.close()
        yield sink.take()
    finally:
        for future in pending:
            future.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


class _Sink:
    """A file that can only be written; what was written is fetched with `take`."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        """Keeps a piece."""
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Does nothing: pieces are taken, not flushed."""

    def take(self) -> bytes:
        """Returns what was written since the last call."""
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content
