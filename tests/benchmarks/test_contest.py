"""Contestants, costs, enhancers, rows; pictures that stay in memory."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contestants.cost import cost_of, reduced_shape
from benchmarks.contestants.counting import count_network
from benchmarks.contestants.enhancers import Setting, load_enhancer
from benchmarks.contestants.methods import METHODS
from benchmarks.contestants.ours import WholeImage
from benchmarks.contestants.programs import make_photographs, program_of, run_command
from benchmarks.processes.process import Program
from benchmarks.processes.turns import Measurement, Plan
from benchmarks.suites import contest
from benchmarks.suites.contest import Contestant, Size, choose_contestants, make_row, run_contest
from benchmarks.suites.suites import Request
from rave_runtime.bundle import read_bundle


def test_made_photographs_are_backlit_and_always_the_same() -> None:
    photographs = make_photographs(60, 80, batch=2)
    assert photographs.shape == (2, 60, 80, 3)
    assert photographs.dtype == np.uint8
    assert photographs[:, :20].mean() > 2 * photographs[:, 40:].mean()
    np.testing.assert_array_equal(photographs, make_photographs(60, 80, batch=2))


@pytest.mark.parametrize(
    "name", ["enlightengan", "zero-dce++", "retinexformer", "ours-torch", "gamma", "lime", "lime-0.3"]
)
def test_methods_take_and_give_photographs_of_any_size(name: str) -> None:
    photographs = make_photographs(21, 30, batch=2)
    result = load_enhancer(METHODS[name], Setting(channels_last=True))(photographs)
    assert result.shape == photographs.shape
    assert result.dtype == np.uint8


def test_what_costs_the_same_is_timed_once_unless_asked_for() -> None:
    timed = [c.method.name for c in Request(quick=True).contestants()]
    assert {"gamma", "lime"} <= set(timed)
    assert not {"gamma-0.7", "lime-0.3"} & set(timed)
    assert [c.method.name for c in Request(names=("lime-0.3",)).contestants()] == ["lime-0.3"]
    assert not Request(names=("lime-0.3",)).contestants(("ours", "lime"))
    with pytest.raises(ValueError, match="method 'lemon' is unknown"):
        Request(names=("lemon",)).contestants()


def test_the_runtime_is_a_method_too(tiny_bundle: Path) -> None:
    photographs = make_photographs(40, 60)
    whole, tiled = (
        load_enhancer(METHODS["ours-full"], Setting(weights=str(tiny_bundle), tile_size=tile))(photographs)
        for tile in (None, 48)
    )
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_a_command_has_no_arrays() -> None:
    with pytest.raises(ValueError, match="works on files"):
        load_enhancer(METHODS["rave-run"], Setting())


def test_costs_follow_padding_steps_and_the_working_size(tiny_bundle: Path) -> None:
    channels = read_bundle(tiny_bundle).manifest.network.channels
    ours = count_network(functools.partial(WholeImage, channels), 32, 48)
    setting = Setting(weights=str(tiny_bundle))
    assert cost_of(METHODS["ours"], setting, 64, 96) == ours
    full = cost_of(METHODS["ours-full"], setting, 64, 96)
    assert full is not None
    assert full.macs == pytest.approx(4 * ours.macs, rel=0.01)
    assert cost_of(METHODS["gamma"], Setting(), 64, 96) is None
    padded = cost_of(METHODS["enlightengan"], Setting(), 15, 16)
    assert padded == cost_of(METHODS["enlightengan"], Setting(), 16, 16)


def test_a_shape_is_reduced_in_proportion_and_never_enlarged() -> None:
    assert reduced_shape(3000, 4000, 1024) == (768, 1024)
    assert reduced_shape(30, 40, 1024) == (30, 40)
    assert reduced_shape(30, 40, None) == (30, 40)
    assert reduced_shape(1, 4000, 100) == (1, 100)


def test_contestants_are_all_precisions_of_what_is_at_hand(tiny_bundle: Path) -> None:
    bundle = str(tiny_bundle)
    few = choose_contestants(["ours", "ours-torch", "restormer", "gamma"], "cpu", 2, bundle, False)
    assert [c.setting.precision for c in few if c.method.name != "ours"] == ["fp32", "fp32", "fp32"]
    assert {c.setting.precision for c in few if c.method.name == "ours"} == {"auto"}
    every = choose_contestants(["ours", "ours-torch", "restormer"], "cpu", 2, bundle, True)
    held = set(read_bundle(tiny_bundle).manifest.precisions())
    assert {c.setting.precision for c in every if c.method.name == "ours"} == held
    assert [c.setting.precision for c in every if c.method.name == "ours-torch"] == ["fp32", "bf16"]
    assert [c.setting.precision for c in every if c.method.name == "restormer"] == ["fp32"]
    gpu = choose_contestants(["restormer"], "cuda", 2, bundle, True)
    assert [(c.setting.precision, c.setting.device) for c in gpu] == [("fp32", "cuda"), ("fp16", "cuda")]
    assert len({c.label for c in [*every, *gpu]}) == len([*every, *gpu])
    with pytest.raises(ValueError, match="method 'x' is unknown"):
        choose_contestants(["x"], "cpu", 2, bundle, False)


def in_turns(programs: dict[str, Program], plan: Plan, _: object) -> dict[str, Measurement]:
    """Stands in for `measure_in_turns`, which `test_timing.py` tests: nothing is run."""
    per_megapixel = {"gamma": 1.0, "clahe": 20.0, "lime": 100.0}
    found = {}
    for name, program in programs.items():
        facts = program.arguments
        seconds = per_megapixel[facts["method"]] * facts["height"] * facts["width"] / 1e6
        in_time = seconds <= plan.cap_s
        found[name] = Measurement("measured", (seconds,)) if in_time else Measurement("over the cap")
    return found


def test_what_was_too_slow_is_not_tried_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "measure_in_turns", in_turns)
    contestants = [Contestant(METHODS[name], Setting()) for name in ("gamma", "clahe", "lime")]
    sizes = [Size(200, 200), Size(100, 100), Size(400, 500)]
    rows = run_contest(contestants, sizes, Plan(rounds=1, cap_s=0.9))
    outcomes = {(row["method"], row["width"]): row["outcome"] for row in rows}
    assert outcomes == {
        ("gamma", 100): "measured",
        ("clahe", 100): "measured",
        ("lime", 100): "over the cap",
        ("gamma", 200): "measured",
        ("clahe", 200): "measured",
        ("lime", 200): "not tried",
        ("gamma", 500): "measured",
        ("clahe", 500): "not tried",
        ("lime", 500): "not tried",
    }
    details = {(row["method"], row["width"]): row["detail"] for row in rows}
    assert details["lime", 200] == "over the cap at 100x100 already"
    assert details["clahe", 500].startswith("about 4 s by its time at 200x200")


def test_a_row_tells_what_was_measured() -> None:
    contestant = Contestant(METHODS["zero-dce++"], Setting("fp32", "cpu", 2))
    measurement = Measurement("measured", (0.2, 0.1, 0.3), 1.0, 50.0, 80.0)
    row = make_row(contestant, Size(24, 36), measurement, Measurement("measured", (0.1, 0.1, 0.1)))
    assert (row["median_s"], row["least_s"], row["samples"], row["times_ours"]) == (0.2, 0.1, 3, 2.0)
    assert (row["peak_rss_mib"], row["idle_rss_mib"], row["parameters"]) == (80.0, 50.0, 10_561)
    assert row["gflop_per_s"] == pytest.approx(2 * row["gmacs"] / 0.2)
    assert row["gmacs"] == 10_075 * 2 * 3 / 1e9


def test_the_command_runs_from_file_to_file(tiny_bundle: Path) -> None:
    run_command(24, 32, weights=str(tiny_bundle), precision="fp32", tile_size="auto")()
    run_command(24, 32, batch=2, weights=str(tiny_bundle))()
    with pytest.raises(RuntimeError, match=r"rave-run ended with 2: .*nowhere"):
        run_command(24, 32, weights="/nowhere")()


def test_programs_of_methods_are_jsonable_and_named() -> None:
    program = program_of(METHODS["lime"], Setting(), 8, 9, 2)
    assert program.entry == "benchmarks.contestants.programs:enhance_arrays"
    assert (program.arguments["method"], program.arguments["width"]) == ("lime", 9)
    assert (
        program_of(METHODS["rave-run"], Setting(), 8, 9).entry
        == "benchmarks.contestants.programs:run_command"
    )
