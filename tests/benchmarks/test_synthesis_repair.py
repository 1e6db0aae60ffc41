"""Bars of training with drawn samples: what counts as fixed, what is paired, what is over what."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.synthesis import harm, repair

SEEDS = (3, 4, 5)
FRAMES = 40


def unit(arm: str, seed: int, fixed: int, **more: Any) -> dict[str, Any]:
    """One object of each frame was missed, another was found; the first ones are fixed."""
    objects = [[f"f{n}", "brick", 0, int(n < fixed)] for n in range(FRAMES)]
    objects += [[f"f{n}", "neon", 1, 1] for n in range(FRAMES)]
    result = {
        **{"frames": 0, "drawn": 100, "boxes": 0, "reproduced": 0.8, "objects": objects},
        **{"siblings_fixed": fixed, "siblings_failed": FRAMES, "negative_flips": 0.01},
        **{"map50": 0.9, "map50_before": 0.9, "classes": {"car": [0.9, 0.9]}},
        **{"false_detections": [10, 10], "resampled": {"map50": [0.9] * 20}},
    }
    return {"arm": arm, "seed": seed, "result": result | more}


def study(**fixed: int) -> list[dict[str, Any]]:
    return [unit(arm, seed, count) for arm, count in fixed.items() for seed in SEEDS]


def test_points_are_of_what_was_missed() -> None:
    found = repair.reached(study(field_frames=10, field_frames_compose=14))
    assert found["G3b"]["value"] == pytest.approx(100 * 4 / FRAMES)
    assert found["G3b"]["met"]
    assert 0 < found["G3b_at_all"]["low"] < 10 < found["G3b_at_all"]["high"]


def test_arms_are_paired_by_frame() -> None:
    """Both fix the same objects: apart by nothing, without any doubt."""
    found = repair.reached(study(field_frames=10, field_frames_compose=10))
    assert (found["G3b_at_all"]["low"], found["G3b_at_all"]["high"]) == (0, 0)
    assert not found["G3b"]["met"]


def test_seeds_that_differ_widen_the_interval() -> None:
    units = study(field_frames=10, field_frames_compose=14)
    for one in units:
        if one["arm"] == "field_frames_compose":
            one["result"] = unit("x", 3, {3: 2, 4: 14, 5: 26}[one["seed"]])["result"]
    found = repair.reached(units)["G3b_at_all"]
    assert found["value"] == pytest.approx(10)
    assert found["low"] < 0
    assert not found["met"]


def test_a_rival_that_fixes_as_much_is_not_beaten() -> None:
    found = repair.reached(
        study(field_frames_compose=14, field_frames_whole=13, field_frames_elsewhere=4)
    )
    assert not found["G4_repair_whole"]["met"]
    assert found["G4_repair_elsewhere"]["met"]
    assert "G4_repair_random" not in found  # not measured


def test_twice_as_many_as_nothing_is_counted_of_totals() -> None:
    found = repair.reached(study(compose=8, same_data=0, retrieval_lacking=5))
    assert found["G3_same_data"]["value"] == 24
    assert found["G3_retrieval"]["value"] == pytest.approx(8 / 5)
    assert not found["G3_retrieval"]["met"]
    assert found["G3_retrieval_at_all"]["met"]


def test_pairs_are_over_the_seeds_that_both_have() -> None:
    units = [*study(field_frames=10), unit("pool", 3, 12)]
    assert repair.reached(units)["G3b_pool"]["value"] == pytest.approx(100 * 2 / FRAMES)


def test_harm_to_the_holdout_is_told() -> None:
    units = study(field_frames=10)
    lost = {"map50": 0.89, "negative_flips": 0.03, "classes": {"car": [0.9, 0.87]}}
    lost |= {"false_detections": [10, 12], "resampled": {"map50": [0.89] * 20}}
    units += [unit("field_frames_compose", seed, 14, **lost) for seed in SEEDS]
    found = repair.reached(units)
    name = "G7_field_frames_compose"
    assert found[name]["value"] == pytest.approx(-1)
    assert found[f"{name}_class"]["value"] == pytest.approx(-3)
    assert found[f"{name}_flips"]["value"] == pytest.approx(0.03)
    assert found[f"{name}_false"]["value"] == pytest.approx(2)
    ends = ("", "_champion", "_class", "_flips", "_false")
    assert not any(found[f"{name}{end}"]["met"] for end in ends)


def holdout(lost: int, false: int, groups: int = 20) -> dict[str, Any]:
    """Ten objects found before in each group; the first of them lose one or see one too many."""
    rows = [[f"g{n}", 10, int(n < lost), 1, 1 + int(n < false)] for n in range(groups)]
    drawn = {"map50": [0.9 + 0.001 * n for n in range(20)], "shared_draws": True}
    return {"holdout": rows, "resampled": drawn, "resampled_before": drawn}


def test_one_seed_has_intervals_over_the_groups_of_its_holdout() -> None:
    units = [unit("same_data", 0, 0, **holdout(4, 6)), unit("compose", 0, 0, **holdout(2, 9))]
    found = harm.reached(repair.by_arm(units))
    flips, false = found["G7_compose_flips"], found["G7_compose_false"]
    assert flips["value"] == pytest.approx(2 / 200)
    assert 0 <= flips["low"] < 0.01 < flips["high"] < 0.03
    assert false["value"] == 3  # of nine groups that see one too many, six do without samples too
    assert 0 <= false["low"] < 3 < false["high"]
    assert (found["G7_compose_champion"]["low"], found["G7_compose"]["low"]) == (0, 0)
    assert found["G7_compose_champion"]["interval_over"] == "seeds and the groups that they share"
    told = harm.told(repair.by_arm(units))["compose"]
    assert (told["groups"], told["found"]) == (20, 200)
    value, low, high = told["flips_above"]  # of four groups that lose one, two do with samples too
    assert value == pytest.approx(-2 / 200)
    assert low < -0.01 < high <= 0


def test_seeds_that_share_their_groups_are_one_draw() -> None:
    """Three seeds that lose the same objects know no more than one of them."""
    seeds = [[unit(arm, seed, 0, **holdout(4, 0)) for arm in ("same_data", "compose")]
             for seed in SEEDS]  # fmt: skip
    one, three = (
        harm.reached(repair.by_arm(units))["G7_compose_flips"]
        for units in (seeds[0], [unit for pair in seeds for unit in pair])
    )
    assert three == pytest.approx(one)


def test_a_unit_without_groups_is_judged_over_seeds() -> None:
    units = [unit("same_data", seed, 0) for seed in SEEDS]
    units += [unit("compose", seed, 0, **holdout(4, 0)) for seed in SEEDS[1:]]
    units += [unit("compose", SEEDS[0], 0, negative_flips=0.04)]
    found = harm.reached(repair.by_arm(units))["G7_compose_flips"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.02, 0.01, 0.04))


def test_the_table_has_the_best_first_and_says_it_by_cause() -> None:
    lines = repair.table([*study(field_frames=10, field_frames_compose=14), unit("pool", 3, 30)])
    assert [line["arm"] for line in lines] == ["field_frames_compose", "field_frames", "pool"]
    assert lines[0]["by_cause"] == {"brick": [42, 120], "neon": [0, 0]}
    assert lines[0]["found"] == [42 + 120, 240]
    told: list[str] = []
    repair.show(lines, told.append)
    assert told[2].startswith("| field_frames_compose | 3 | 35.0 [")
    assert "42/120" in told[2]


def test_runs_of_the_loop_are_borrowed_where_they_began_with_the_same_detector() -> None:
    own = study(selection_compose=14)
    loop = []
    for seed, before in zip(SEEDS, (0.9, 0.9, 0.8), strict=True):
        result = {"siblings_fixed": 10, "siblings_failed": FRAMES, "map50_before": before}
        result |= {"map50": 0.9, "boxes": 75, "negative_flips": 0.01}
        loop.append(
            {"part": "training", "arm": "e2x", "budget": 75, "seed": seed, "result": result}
        )
        loop.append(loop[-1] | {"budget": 150})
    units = [*own, *repair.borrowed(loop, own)]
    assert [(one["arm"], one["seed"]) for one in units[3:]] == [("selection", 3), ("selection", 4)]
    found = repair.reached(units)
    assert found["G5"]["value"] == pytest.approx(10)
    assert (found["G5_at_all"]["low"], found["G5_at_all"]["high"]) == (10, 10)  # seeds alone
    line = repair.table(units)[1]
    assert (line["arm"], line["fixed"][0], line["by_cause"]) == ("selection", 25, {})
    assert line["false_detections"] is None
    assert len(list(repair.rows([line]))) == 3
