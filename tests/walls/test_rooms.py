"""The rooms of the runtime and the arrows between them: what may import what, and that nothing goes round."""

from __future__ import annotations

from pathlib import Path

import pytest

import rave_runtime
from tests.walls.imports import circles, import_graph, imported, too_large

ROOT = Path(rave_runtime.__file__).parent
FORBIDDEN = {
    "light": ("photos", "run", "cluster", "files", "serve"),
    "backends": ("photos", "run", "cluster", "light", "serve"),
    "photos": ("run", "cluster", "backends", "light", "serve"),
    "files": ("photos", "run", "cluster", "backends", "light", "serve"),
    "run": ("cluster", "serve"),
    "films": ("serve",),
    "cluster": ("serve",),
    "serve": ("cluster", "films"),
}
"""Rooms, and those that they must not import, not even inside functions."""


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_rooms_import_only_what_lies_below_them(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        for name in imported(file):
            for other in FORBIDDEN[room]:
                assert not f"{name}.".startswith(f"rave_runtime.{other}."), f"{file.name} imports {name}"


def test_only_the_cluster_imports_ray() -> None:
    for file in ROOT.rglob("*.py"):
        if "cluster" not in file.parts:
            assert not {name.split(".")[0] for name in imported(file)} & {"ray"}, file


def test_only_the_service_imports_a_web_framework() -> None:
    for file in ROOT.rglob("*.py"):
        if "serve" not in file.parts:
            names = {name.split(".")[0] for name in imported(file)}
            assert not names & {"starlette", "uvicorn", "python_multipart"}, file


def test_no_import_goes_round() -> None:
    graph = import_graph(ROOT)
    assert len(graph) > 40
    assert circles(graph) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_every_room_can_be_seen_at_a_glance() -> None:
    assert too_large(ROOT) == []
