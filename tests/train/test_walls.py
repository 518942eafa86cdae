"""The walls of the training package: what imports what, and how much lies in one place."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import rave_train

ROOT = Path(rave_train.__file__).parent
MODULES = {
    ".".join(("rave_train", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in ROOT.rglob("*.py")
}


def imports_of(module: str) -> set[str]:
    """Modules of this package that a module names in imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inside or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES}


def test_imports_run_in_no_circle_not_even_inside_functions() -> None:
    graph = {module: imports_of(module) for module in MODULES}
    assert graph["rave_train.encoders.opening"] >= {"rave_train.encoders.timm"}, "of a function"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_module_is_one_idea_and_every_package_is_seen_at_a_glance() -> None:
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in MODULES.items()}
    assert {name: n for name, n in lines.items() if n > 320 and ".recipes." not in name} == {}
    for folder in {file.parent for file in MODULES.values()}:
        entries = [entry for entry in folder.iterdir() if entry.name != "__pycache__"]
        assert len(entries) <= 16, folder


@pytest.mark.parametrize("name", ["network", "checkpoint", "recipes.embedded", "cli"])
def test_public_modules_keep_their_names(name: str) -> None:
    assert find_spec(f"rave_train.{name}") is not None
