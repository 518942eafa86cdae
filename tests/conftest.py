"""Markers that need something from outside skip themselves here, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run tests that take minutes")
    parser.addoption("--run-network", action="store_true", help="run tests that download weights")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skips = {
        "slow": (not config.getoption("--run-slow"), "takes minutes: --run-slow runs it"),
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
