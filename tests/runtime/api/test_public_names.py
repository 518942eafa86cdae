"""The names that other programs may rely on (CONTRIBUTING lists their modules): none may vanish or change."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

import rave_runtime
from rave_runtime import EnhancedPhoto, Enhancer

MODULES = {
    "rave_runtime": (
        "BundleError",
        "DeviceError",
        "EnhancedPhoto",
        "Enhancer",
        "PhotoError",
        "RaveError",
        "UsageError",
        "__version__",
    ),
    "rave_runtime.bundle": (
        "EMBEDDED",
        "FORMAT",
        "MANIFEST_NAME",
        "Bundle",
        "CheckpointFile",
        "EngineFile",
        "GraphFile",
        "Manifest",
        "NetworkFacts",
        "Parity",
        "TensorSpec",
        "embedded_bundle",
        "read_bundle",
        "write_manifest",
    ),
    "rave_runtime.enhancer": ("Enhancer",),
}
ENHANCER = {
    "Enhancer": (
        "model",
        "precision",
        "device",
        "working_size",
        "tile_size",
        "strength",
        "threads",
        "highlights",
    ),
    "backlit_score": ("self", "image"),
    "enhance": ("self", "image"),
    "enhance_bytes": ("self", "data", "strength", "format", "quality"),
    "enhance_photo": ("self", "photo", "reuse"),
    "enhance_stream": ("self", "images", "workers"),
    "illumination": ("self", "image"),
    "prepare": ("self",),
}
"""Arguments in their order; further ones may be added behind them."""
PROGRAMS = ("rave-export", "rave-run", "rave-serve", "rave-train")
EXTRAS = (
    *("bench", "cluster", "deep", "export", "heif", "openvino", "recipe", "remote", "rtx"),
    *("serve", "test", "train", "trt", "video"),
)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_public_names_are_there(module: str) -> None:
    place = importlib.import_module(module)
    assert [name for name in MODULES[module] if not hasattr(place, name)] == []


def test_the_package_says_what_is_public() -> None:
    assert sorted(rave_runtime.__all__) == sorted(MODULES["rave_runtime"])
    assert missing(rave_runtime.__all__, rave_runtime.__dir__()) == []


@pytest.mark.parametrize("name", sorted(ENHANCER))
def test_the_enhancer_takes_these_arguments(name: str) -> None:
    function = Enhancer if name == "Enhancer" else getattr(Enhancer, name)
    arguments = tuple(inspect.signature(function).parameters)
    assert arguments[: len(ENHANCER[name])] == ENHANCER[name]


def test_an_enhanced_photograph_holds_these_facts() -> None:
    fields = [field.name for field in dataclasses.fields(EnhancedPhoto)]
    names = ("content", "format", "media_type", "warnings", "width_px", "height_px", "seconds", "backlit")
    assert missing(names, fields) == []


def test_programs_and_extras_keep_their_names() -> None:
    distribution = importlib.metadata.distribution("rave-backlit")
    programs = [entry.name for entry in distribution.entry_points if entry.group == "console_scripts"]
    extras = distribution.metadata.get_all("Provides-Extra") or []
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    if (project.parent / "runtime").is_dir():  # an installed tree may be older than its source
        settings = tomllib.loads(project.read_text())["project"]
        programs, extras = list(settings["scripts"]), list(settings["optional-dependencies"])
    assert missing(PROGRAMS, programs) == []
    assert missing(EXTRAS, extras) == []


def missing(needed: Iterable[str], there: Iterable[str]) -> list[str]:
    """Names that are needed and not there."""
    return sorted(set(needed) - set(there))
