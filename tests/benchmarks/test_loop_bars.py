"""The bars of the loop benchmark on tables whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.loop import bars, cycles, table
from benchmarks.loop.tested import Tested as Outcomes
from retrain.report import EvaluationReport, ObjectOutcome

SEEDS = (0, 1, 2)
PAIR = {"e2x": 0.4, "talisman": 0.5}


def unit(arm: str, seed: int, budget: int, ap: float, **more: Any) -> dict[str, Any]:
    """A finished unit with a slice AP, everything else equal for all arms."""
    plain = {"slice_ap50": ap, "map50": 0.7, "siblings_fixed": 10, "negative_flips": 0.01}
    return {"arm": arm, "seed": seed, "budget": budget, "result": plain | more}


def study(e2x: tuple[float, float], random: float, rival: float) -> list[dict[str, Any]]:
    """Two budgets of E2X and random, one of a rival, on three seeds; the floor is 0.2."""
    units = []
    for seed in SEEDS:
        units.append(unit("same_data", seed, 0, 0.2))
        units += [unit("e2x", seed, 50, e2x[0]), unit("e2x", seed, 100, e2x[1])]
        units += [unit("random", seed, 50, 0.25), unit("random", seed, 100, random)]
        units.append(unit("talisman", seed, 100, rival))
    return units


def test_labels_needed_are_those_of_a_budget_that_was_trained() -> None:
    units = study((0.6, 0.8), random=0.4, rival=0.5)
    found = bars.training_bars(units)
    assert found["T1"]["value"] == pytest.approx(0.5)  # 50 of 100, though the line is above before
    assert not found["T1"]["met"]
    assert found["T2"]["value"] == pytest.approx((35 + 40) / 2)


def test_a_budget_counts_only_if_no_larger_one_falls_below_random() -> None:
    units = study((0.6, 0.8), random=0.4, rival=0.5)
    lucky = [unit("e2x", seed, 10, 0.45) for seed in SEEDS]
    slump = [unit("e2x", seed, 20, 0.35) for seed in SEEDS]
    assert bars.training_bars(units + lucky)["T1"]["value"] == pytest.approx(0.1)
    assert bars.training_bars(units + lucky + slump)["T1"]["value"] == pytest.approx(0.5)


def test_the_worst_budget_and_the_noise_floor_are_told() -> None:
    units = study((0.6, 0.8), random=0.4, rival=0.5)
    for one in units:
        if one["arm"] == "e2x":
            gain = {50: -0.02, 100: 0.04}[one["budget"]]
            one["result"] |= {"map50": 0.7 + gain, "negative_flips": 0.03}
    found = bars.training_bars(units)
    assert (found["T4"]["value"], found["T4"]["budget"]) == (pytest.approx(-2), 50)
    assert found["T7"]["value"] == pytest.approx(0.02)  # the floor is 0.01
    assert (found["T7"]["flips"], found["T7"]["noise_floor"]) == pytest.approx((0.03, 0.01))


def test_labels_are_all_needed_where_random_is_never_reached() -> None:
    found = bars.training_bars(study((0.2, 0.3), random=0.4, rival=0.1))
    assert found["T1"]["value"] == 1
    assert not found["T1"]["met"]


def test_one_budget_tells_nothing_about_labels_needed() -> None:
    units = study((0.6, 0.8), random=0.4, rival=0.5)
    found = bars.training_bars([unit for unit in units if unit["budget"] != 50])
    assert found["T1"]["value"] is None
    assert found["T2"]["value"] == pytest.approx(40)


def test_the_best_rival_is_the_one_to_beat() -> None:
    found = bars.training_bars(study((0.6, 0.8), random=0.4, rival=0.9))
    assert found["T3"]["rival"] == "talisman"
    assert found["T3"]["value"] == pytest.approx(-10)
    assert not found["T3"]["met"]


def test_seeds_beyond_the_full_protocol_serve_the_pairs_alone() -> None:
    """Two seeds more of E2X and its best rival move what is between them and nothing else."""
    full = study((0.6, 0.8), random=0.4, rival=0.5)
    more = [unit(arm, seed, 100, ap) for seed in (3, 4) for arm, ap in PAIR.items()]
    before, after = bars.training_bars(full), bars.training_bars(full + more)
    assert (after["T3"]["seeds"], after["T3"]["value"]) == (5, pytest.approx((3 * 30 - 2 * 10) / 5))
    assert {k: v for k, v in after.items() if k != "T3"} == {
        k: v for k, v in before.items() if k != "T3"
    }
    leads = bars.leads(full + more)
    assert list(leads) == [100, 50]
    assert {arm: lead["seeds"] for arm, lead in leads[100].items()} == {"random": 3, "talisman": 5}
    assert {arm: lead["seeds"] for arm, lead in leads[50].items()} == {"random": 3}
    assert leads[100]["talisman"]["value"] == after["T3"]["value"]
    assert bars.full_protocol(full + more) == full
    assert bars.full_protocol(more) == more  # a run of these alone still has its table


def test_intervals_hold_the_spread_over_groups_where_it_is_known() -> None:
    """No spread over seeds, ten points over the groups of a seed."""
    rng = np.random.default_rng(1)
    plain, grouped = [], []
    for seed in SEEDS:
        plain += [unit("e2x", seed, 100, 0.5), unit("random", seed, 100, 0.4)]
        draws = rng.normal(0, 0.1, 200)
        for arm, ap in (("e2x", 0.5), ("random", 0.4)):
            shift = draws if arm == "e2x" else np.zeros(200)
            more = {"resampled": {"slice_ap50": list(ap + shift)}}
            grouped.append(unit(arm, seed, 100, ap, **more))
    keys = [(seed, 100) for seed in SEEDS]
    narrow = bars.difference(plain, "e2x", "random", "slice_ap50", keys, 0)
    wide = bars.difference(grouped, "e2x", "random", "slice_ap50", keys, 0)
    assert narrow["value"] == wide["value"] == pytest.approx(10)
    assert narrow["high"] - narrow["low"] == pytest.approx(0)
    spread = 2 * 1.96 * 10 / np.sqrt(len(SEEDS))  # of a mean of three independent draws
    assert wide["high"] - wide["low"] == pytest.approx(spread, rel=0.15)


def test_seeds_that_share_their_groups_are_no_more_than_one() -> None:
    """The same draws under every seed: the mean spreads as one seed does, not by the root of n."""
    draws = np.random.default_rng(1).normal(0, 0.1, 200)
    spans = {}
    for shared in (False, True):
        units = []
        for seed in SEEDS:
            for arm, ap, shift in (("e2x", 0.5, draws), ("random", 0.4, np.zeros(200))):
                more = {"slice_ap50": list(ap + shift), "shared_draws": shared}
                units.append(unit(arm, seed, 100, ap, resampled=more))
        keys = [(seed, 100) for seed in SEEDS]
        found = bars.difference(units, "e2x", "random", "slice_ap50", keys, 0)
        spans[shared] = found["high"] - found["low"]
        assert ("share" in found["interval_over"]) == shared
    assert spans[True] == pytest.approx(spans[False] * np.sqrt(len(SEEDS)), rel=0.15)


def test_a_draw_that_has_no_figure_is_left_out() -> None:
    more = {"e2x": [0.6, None, 0.6], "random": [0.5, 0.5, None]}
    for shared in (False, True):
        units = [
            unit(arm, seed, 100, 0.5, resampled={"slice_ap50": own, "shared_draws": shared})
            for seed in SEEDS
            for arm, own in more.items()
        ]
        keys = [(seed, 100) for seed in SEEDS]
        found = bars.difference(units, "e2x", "random", "slice_ap50", keys, 0)
        assert (found["low"], found["high"]) == pytest.approx((10, 10))


def test_failures_fixed_are_compared_in_all() -> None:
    """A seed in which random fixes one would carry a mean of ratios: 20 there, 2 elsewhere."""
    units = [
        unit(arm, seed, 100, 0.5, siblings_fixed=fixed)
        for arm, counts in (("e2x", (20, 20, 20)), ("random", (1, 10, 10)))
        for seed, fixed in zip(SEEDS, counts, strict=True)
    ]
    found = bars.training_bars([*units, *(unit("same_data", seed, 0, 0.2) for seed in SEEDS)])
    assert found["T6"]["value"] == pytest.approx(60 / 21)
    assert (found["T6"]["low"], found["T6"]["high"]) == pytest.approx((2, 20))
    assert not found["T6"]["met"]
    assert bars.ratio([3], [0], 3)["value"] == 3
    assert bars.ratio([], [], 3)["value"] is None


def test_budgets_of_a_seed_count_once() -> None:
    """The same figures at two budgets tell no more than at one: equal draws, equal intervals."""
    rng = np.random.default_rng(2)
    once, twice = [], []
    for seed in SEEDS:
        draws = rng.normal(0, 0.1, 200)
        for arm, ap in (("e2x", 0.5 + 0.1 * seed), ("random", 0.4)):
            shift = draws if arm == "e2x" else np.zeros(200)
            more = {"resampled": {"slice_ap50": list(ap + shift)}}
            once.append(unit(arm, seed, 100, ap, **more))
            twice += [unit(arm, seed, budget, ap, **more) for budget in (50, 100)]
    keys = [(seed, budget) for seed in SEEDS for budget in (50, 100)]
    one = bars.difference(once, "e2x", "random", "slice_ap50", keys[1::2], 0)
    two = bars.difference(twice, "e2x", "random", "slice_ap50", keys, 0)
    for name in ("value", "low", "high"):
        assert one[name] == pytest.approx(two[name])


def test_rows_come_best_first_and_count_their_seeds() -> None:
    rows = table.rows(study((0.6, 0.8), 0.4, 0.5), ("slice_ap50",))
    assert [row["arm"] for row in rows if row["budget"] == 100] == ["e2x", "talisman", "random"]
    assert {row["seeds"] for row in rows} == {3}


def report(found: dict[int, bool]) -> EvaluationReport:
    """Objects of one image."""
    objects = tuple(ObjectOutcome("a", row, "car", hit, 1.0) for row, hit in found.items())
    return EvaluationReport(
        "d", "m", ("background", "car"), 0.5, 0.5, None, None, {}, {}, {}, objects
    )


def outcome(found: dict[int, bool]) -> Outcomes:
    return Outcomes(report({}), report(found), {})


def test_what_was_fixed_and_is_missed_again_has_opened_again() -> None:
    before = outcome({0: False, 1: False, 2: False, 3: True, 4: False})
    middle = outcome({0: True, 1: True, 2: False, 3: True, 4: True})
    end = outcome({0: True, 1: False, 2: True, 3: False, 4: False})
    planted = {("a", row) for row in range(4)}  # 4 has no cause
    assert cycles.reopened(before, middle, end, planted) == 0.5
    assert cycles.reopened(before, before, end, planted) is None


def test_what_the_service_names_is_set_against_every_other_query() -> None:
    arms = [
        {"arm": arm, "seed": seed, "result": {"useful": 0.5, "enrichment": 10.0}}
        for arm in ("e2x", "e2x_random_regions")
        for seed in SEEDS
    ]
    alone = {"negative": 0.1, "random": 0.2, "box": 0.1, "whole_image": 0.4, "named": 0.3}
    single = [{"seed": seed, "result": alone} for seed in SEEDS]
    found = bars.retrieval_bars(arms, [], single)
    assert found["F4_named_above_negative"]["value"] == pytest.approx(20)
    assert found["F4_named_above_whole_image"]["value"] == pytest.approx(-10)
    assert not any(name.startswith("F4_anywhere") for name in found)  # not in this world
