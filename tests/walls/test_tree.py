"""Every package: no import goes round, imports point one way, and nothing is too large to overlook."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.walls.imports import circles, import_graph, imported, module_name, too_large

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "rave_runtime": ROOT / "runtime" / "rave_runtime",
    "rave_train": ROOT / "train" / "rave_train",
    "rave_export": ROOT / "export" / "rave_export",
    "benchmarks": ROOT / "benchmarks",
}
"""From the lowest to the highest: a package may import those before it."""

PUBLIC = {
    "rave_train": (
        "Checkpoint",
        "EnhancementNetwork",
        "load_checkpoint",
        "read_checkpoint",
        "save_checkpoint",
    ),
    "rave_train.network": ("EnhancementNetwork", "relight"),
    "rave_train.checkpoint": ("Checkpoint", "load_checkpoint", "read_checkpoint", "save_checkpoint"),
    "rave_train.recipes.embedded": ("main",),
    "rave_export.bundles": ("Contents", "export_bundle", "write_checkpoint"),
    "rave_export.cli": ("main",),
}
"""Names outside the runtime that other programs may rely on; the runtime's are in test_public_names."""


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_public_names_are_there(module: str) -> None:
    place = importlib.import_module(module)
    assert [name for name in PUBLIC[module] if not hasattr(place, name)] == []


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_import_goes_round(package: str) -> None:
    graph = import_graph(PACKAGES[package])
    assert len(graph) > 15
    assert circles(graph) == []


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_everything_can_be_seen_at_a_glance(package: str) -> None:
    assert too_large(PACKAGES[package]) == []


def test_so_can_the_tests() -> None:
    assert too_large(ROOT / "tests") == []


def test_no_test_is_imported_by_another() -> None:
    """Where a library is missing, a module of tests ends at its top, and what it holds is not there."""
    files = list((ROOT / "tests").rglob("*.py"))
    names = {module_name(file, ROOT / "tests") for file in files if file.name.startswith("test_")}
    names |= {name.rpartition(".")[2] for name in names}  # as relative imports have them
    assert {str(file): found for file in files if (found := names & set(imported(file)))} == {}


def test_imports_point_one_way() -> None:
    names = list(PACKAGES)
    for package, folder in PACKAGES.items():
        above = set(names[names.index(package) + 1 :])
        for file in folder.rglob("*.py"):
            assert not {name.split(".")[0] for name in imported(file)} & above, file
