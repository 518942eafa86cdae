"""Markers that need something from outside skip themselves here, each with its reason."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

Once = Callable[[str, Callable[[Path], object]], Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run tests that take long")
    parser.addoption("--run-network", action="store_true", help="run tests that download weights")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skips = {
        "slow": (not config.getoption("--run-slow"), "takes long: --run-slow runs it"),
        "network": (not config.getoption("--run-network"), "downloads weights: --run-network runs it"),
        "shared": (not SHARED.is_dir(), "the published checkpoints are not at ../shared"),
        "gpu": (not _has_gpu(), "no CUDA GPU"),
    }
    for item in items:
        for name, (skip, reason) in skips.items():
            if skip and name in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists()


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test makes is found by the next run, or left in anybody's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAVE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Published checkpoints and photographs beside the repository; tests using it are marked so."""
    return SHARED


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fills a folder by name, which all processes of this run then read; nobody may change what is in it.

    Two processes that begin at the same time both fill one, and the first that is done is read by all.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        place = base / f"once-{name}"
        if not place.exists():
            fill(begun := tmp_path_factory.mktemp(name))
            with contextlib.suppress(OSError):  # it is there by now
                begun.rename(place)
        return place

    return make
