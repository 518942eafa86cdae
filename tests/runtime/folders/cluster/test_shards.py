"""Shards share the work evenly, make the whole, and keep every name where it was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rave_runtime.cli.command import run_folder
from rave_runtime.errors import UsageError
from rave_runtime.run.jobs import Shard, parse_shard
from rave_runtime.run.options import RunOptions
from tests.runtime.folders.places import contents, fill
from tests.runtime.folders.runs import QUICK
from tests.runtime.pictures import MakePicture


@settings(max_examples=30)
@given(st.integers(1, 40), st.sets(st.text(min_size=1, max_size=12), max_size=40), st.text(min_size=1))
def test_every_name_is_in_exactly_one_shard_whatever_is_added(
    count: int, names: set[str], added: str
) -> None:
    shards = [Shard(i, count) for i in range(1, count + 1)]
    before = {name: [s.index for s in shards if s.holds(name)] for name in names}
    assert all(len(held) == 1 for held in before.values())
    after = {name: [s.index for s in shards if s.holds(name)] for name in names | {added}}
    assert all(after[name] == held for name, held in before.items())


def test_shards_share_the_work_evenly() -> None:
    sizes = Counter(i for n in range(4000) for i in range(1, 9) if Shard(i, 8).holds(f"{n}.jpg"))
    assert all(400 < size < 600 for size in sizes.values())


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read: give I/N"):
        parse_shard(text)


def test_shards_of_a_folder_make_the_whole(picture: MakePicture, tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", picture, [f"{i}.jpg" for i in range(7)])
    run_folder(folder, tmp_path / "whole", QUICK)
    done = []
    for i in (1, 2, 3):
        options = RunOptions(device="cpu", precision="fp32", working_size=32, shard=f"{i}/3")
        done += [r.job.name for r in run_folder(folder, tmp_path / "parts", options)]
    assert sorted(done) == [f"{i}.jpg" for i in range(7)]
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert {n: c for n, c in parts.items() if n.endswith("jpg")} == {
        n: c for n, c in whole.items() if n.endswith("jpg")
    }
