"""What the demo promises is an interval in which a further run falls, not the digits of one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.demo import ROWS, intervals, markdown, summary


def result(seed: int, rng: np.random.Generator) -> dict[str, object]:
    return {
        "seed": seed,
        "failures_before": int(rng.normal(55, 6)),
        "failures_after": int(rng.normal(35, 8)),
        "siblings_failed_before": int(rng.normal(75, 6)),
        "siblings_failed_after": int(rng.normal(45, 8)),
        "map50_before": float(rng.normal(0.95, 0.01)),
        "map50_after": min(1.0, float(rng.normal(0.985, 0.01))),
        "negative_flips": max(0.0, float(rng.normal(0.015, 0.008))),
        "boxes_labelled": int(rng.normal(200, 4)),
        "promoted": int(rng.integers(1, 3)),
    }


def test_a_further_run_falls_into_the_interval_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    within = []
    for _ in range(400):
        found = intervals([result(seed, rng) for seed in range(5)])["failures_before"]
        further = float(ROWS["failures_before"].value(result(5, rng)))
        within.append(found["next_low"] - 0.5 <= further <= found["next_high"] + 0.5)
        assert found["next_low"] <= found["low"] <= found["median"] <= found["high"]
    assert 0.93 < np.mean(within) <= 0.99


def test_intervals_are_cut_to_what_a_figure_can_be() -> None:
    rng = np.random.default_rng(1)
    found = intervals([result(seed, rng) for seed in range(3)])
    assert found["promoted"]["next_high"] <= 2
    assert found["map50_after"]["next_high"] <= 1
    assert found["negative_flips"]["next_low"] >= 0
    worse = [{**result(seed, rng), "siblings_failed_after": 90 + seed} for seed in range(3)]
    assert intervals(worse)["siblings_fixed"]["low"] < 0


def test_equal_runs_have_no_width() -> None:
    one = result(0, np.random.default_rng(2))
    found = intervals([one, one])["boxes_labelled"]
    assert found["next_low"] == found["next_high"] == pytest.approx(found["median"])


def test_the_table_has_a_row_a_figure_and_columns_for_each_side() -> None:
    rng = np.random.default_rng(3)
    alone = summary([result(seed, rng) for seed in range(3)])
    assert alone["bars"] == {}
    lines = markdown(alone).splitlines()
    assert len(lines) == 2 + 2 + len(ROWS)
    assert "--seeds 0 1 2`" in lines[0]
    assert {line.count("|") for line in lines[2:]} == {5}
    beside = [{**result(seed, rng), "random": result(seed, rng)} for seed in range(3)]
    both = summary(beside, "random")
    assert set(both["bars"]) == {"siblings_fixed_over_random", "gate_passes"}
    assert markdown(both).splitlines()[-1].count("|") == 8
