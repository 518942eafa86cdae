"""The rooms of the runtime and the arrows between them: what may import what, and that nothing goes round."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rave_runtime

ROOT = Path(rave_runtime.__file__).parent
FORBIDDEN = {
    "light": ("photos", "run", "cluster", "files"),
    "backends": ("photos", "run", "cluster", "light"),
    "photos": ("run", "cluster", "backends", "light"),
    "files": ("photos", "run", "cluster", "backends", "light"),
    "run": ("cluster",),
}
"""Rooms, and those that they must not import, not even inside functions."""


def module_name(file: Path, root: Path) -> str:
    parts = file.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> Iterator[str]:
    """Names of modules that a file imports, at its top and inside functions, but for type checking alone."""
    tree = ast.parse(file.read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def import_graph(root: Path) -> dict[str, set[str]]:
    files = {module_name(file, root): file for file in root.rglob("*.py")}
    return {name: set(imported(file)) & set(files) - {name} for name, file in files.items()}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that lead back to themselves."""

    def reaches(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = list(graph[start])
        while ahead:
            if (name := ahead.pop()) not in seen:
                seen.add(name)
                ahead += graph[name]
        return seen

    return sorted(name for name in graph if name in reaches(name))


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


def test_no_import_goes_round() -> None:
    graph = import_graph(ROOT)
    assert len(graph) > 40
    assert circles(graph) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_every_room_can_be_seen_at_a_glance() -> None:
    for folder in (path for path in ROOT.rglob("*") if path.is_dir() and "__pycache__" not in path.parts):
        entries = [entry.name for entry in folder.iterdir() if entry.name != "__pycache__"]
        assert len(entries) <= 16, f"{folder.name} holds {len(entries)}"
    for file in ROOT.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 320, file
