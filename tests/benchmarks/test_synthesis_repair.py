"""Bars of training with drawn samples: what counts as fixed, what is paired, what is over what."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.synthesis import repair

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


def test_the_table_has_the_best_first_and_says_it_by_cause() -> None:
    lines = repair.table([*study(field_frames=10, field_frames_compose=14), unit("pool", 3, 30)])
    assert [line["arm"] for line in lines] == ["field_frames_compose", "field_frames", "pool"]
    assert lines[0]["by_cause"] == {"brick": [42, 120], "neon": [0, 0]}
    assert lines[0]["found"] == [42 + 120, 240]
    told: list[str] = []
    repair.show(lines, told.append)
    assert told[2].startswith("| field_frames_compose | 3 | 35.0 [")
    assert "42/120" in told[2]
