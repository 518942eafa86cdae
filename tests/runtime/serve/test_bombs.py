"""Small files that claim, or unpack to, huge ones."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from typing import Any

from tests.runtime.handmade import png_chunk as chunk

from .conftest import Serve, Service
from .wire import is_well


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that claims, and holds, a huge black picture."""

    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(bytes(1 + width // 8)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_picture_bombs_are_refused_by_their_size(serve: Serve) -> None:
    service = serve("--memory-limit", 256)
    before = service.metric("process_resident_memory_bytes")
    answer = service.post("/enhance", png_bomb(60_000, 10_000))
    assert answer.status == 413
    assert "is 60000 x 10000, over this service's limit of 100 megapixels" in answer.detail
    answer = service.post("/enhance", png_bomb(8000, 8000))
    assert answer.status == 413
    assert "MiB of memory, this service has 256 MiB" in answer.detail
    assert service.metric("process_resident_memory_bytes") - before < 100e6
    is_well(service)


def test_pictures_that_other_libraries_read_are_refused_by_their_size(serve: Serve) -> None:
    """Their reader would name an option of rave-run, which nobody who sends a photograph has."""
    bits = (
        3 << 1 | (20_000 - 1) << 3 | 1 << 33 | 1 << 36
    )  # a height of 30 bits, as wide as high, all else usual
    answer = serve().post("/enhance", b"\xff\x0a" + bits.to_bytes(8, "little"))
    assert answer.status == 413
    assert "is 20000 x 20000, over this service's limit of 100 megapixels" in answer.detail


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def records_of(service: Service, content: bytes) -> list[dict[str, Any]]:
    answer = service.post("/batch", content, {"Content-Type": "application/zip"})
    assert answer.status == 200, answer.body
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        return list(json.loads(archive.read("results.json")))


def test_zip_bombs(serve: Serve, jpeg: bytes) -> None:
    service = serve("--max-body", 1, "--max-batch-photos", 20, "--max-batch", 8)
    before = service.metric("process_resident_memory_bytes")
    bomb = zip_of({"a.jpg": jpeg, "b.jpg": bytes(200_000_000)})
    assert len(bomb) < 500_000
    records = records_of(service, bomb)
    assert [record["status"] for record in records] == [200, 413]
    assert records[1]["error"] == "the file is over the limit of 1 MiB: shrink it"
    liar = bytearray(zip_of({"b.jpg": bytes(3_000_000)}))
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):  # says that it holds 100 bytes
        struct.pack_into("<I", liar, liar.find(signature) + at, 100)
    assert records_of(service, bytes(liar))[0]["status"] in (413, 415, 422)
    many = zip_of({f"{i}.jpg": b"" for i in range(30)})
    refused = service.post("/batch", many, {"Content-Type": "application/zip"})
    assert (refused.status, "20 allowed" in refused.detail) == (413, True)
    # A directory of a million entries is refused before anything is made of it.
    directory = b"PK\1\2" + bytes(42)
    flood = directory * 50_000 + struct.pack(
        "<IHHHHIIH", 0x06054B50, 0, 0, 50_000, 50_000, len(directory) * 50_000, 0, 0
    )
    assert service.post("/batch", flood, {"Content-Type": "application/zip"}).status == 413
    other = zip_of({"a.jpg": bytes(5_000_000)}, zipfile.ZIP_BZIP2)
    assert records_of(service, other)[0]["status"] == 415
    assert service.metric("process_resident_memory_bytes") - before < 100e6
    is_well(service)
