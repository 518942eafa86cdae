"""What modules import, read from their source, and how large they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

MOST_ENTRIES = 16
MOST_LINES = 320
MARKERS = ("__pycache__", "__init__.py", "py.typed")
"""Entries that make a folder a package and hold no idea."""


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


def too_large(root: Path) -> list[str]:
    """Folders with too many entries and modules with too many lines below a package's folder."""
    found = []
    for path in (root, *root.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        if path.is_dir() and any(path.glob("*.py")):
            entries = [entry for entry in path.iterdir() if entry.name not in MARKERS]
            if len(entries) > MOST_ENTRIES:
                found.append(f"{path.name} holds {len(entries)} entries")
        elif path.suffix in (".py", ".js") and (lines := len(path.read_text().splitlines())) > MOST_LINES:
            found.append(f"{path.relative_to(root)} has {lines} lines")
    return found
