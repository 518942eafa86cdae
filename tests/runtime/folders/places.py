"""Folders of photographs, here and in stores, and what is in them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from rave_runtime.files.location import RemoteFile
from tests.runtime.pictures import MakePicture


def fill(folder: Path, picture: MakePicture, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(48, 64, seed)).save(folder / name)
    return folder


def upload(folder: Path, url: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            (RemoteFile(url) / file.relative_to(folder)).write(file.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def remote_contents(url: str) -> dict[str, bytes]:
    folder = RemoteFile(url)
    return {name: (folder / name).read() for name in folder.names()}


def touch(folder: Path, *names: str) -> Path:
    """Makes files of one byte."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder
