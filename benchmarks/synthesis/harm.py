"""G7: what arms with drawn samples do to the holdout, beside the same without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from benchmarks.common import bars
from benchmarks.loop.bars import bar, difference
from benchmarks.synthesis.resampling import Counts, count_a_seed, interval

Unit: TypeAlias = Mapping[str, Any]
WITHOUT = {"field_frames_compose": "field_frames", "compose": "same_data", "pool": "same_data"}
"""Arms with drawn samples, and the same without."""
FIRST = "first detector"
POINTS, CLASS_POINTS, FLIPS = -0.5, -2.0, 0.02
FOUND, LOST, FALSE_NOW = 1, 2, 4
"""Columns of what a unit says of a group of the holdout."""


def reached(arms: Mapping[str, Sequence[Unit]]) -> dict[str, Any]:
    """The bars of each arm with drawn samples that was measured with and without them.

    Args:
        arms: units by arm; those of seeds that both have count.
    """
    found: dict[str, Any] = {}
    for arm, own, other in _pairs(arms):
        found |= _of_arm(arm, own, other)
    return found


def told(arms: Mapping[str, Sequence[Unit]]) -> dict[str, Any]:
    """What is told beside the bars, of units that count by group.

    Args:
        arms: units by arm.

    Returns:
        By arm with drawn samples: ``groups`` of the holdout and objects ``found`` in them before,
        means over seeds; ``flips_above``, by how much the share of them that it loses is above that
        without drawn samples, with its 95 % interval, paired by group.
    """
    found: dict[str, Any] = {}
    for arm, own, other in _pairs(arms):
        results, others = ([unit["result"] for unit in units] for units in (own, other))
        if not _by_group([*results, *others]):
            continue
        lost, shared = _counts(results, lambda row: [row[LOST], row[FOUND]])
        lost_without, _ = _counts(others, lambda row: [row[LOST], 0])
        apart = [a - b for a, b in zip(lost, lost_without, strict=True)]
        found[arm] = {
            "groups": float(np.mean([len(result["holdout"]) for result in results])),
            "found": float(np.mean([counts[:, 1].sum() for counts in lost])),
            "flips_above": [value / 100 for value in interval(apart, shared)],
        }
    return found


def _pairs(
    arms: Mapping[str, Sequence[Unit]],
) -> Iterator[tuple[str, list[Unit], list[Unit]]]:
    """Arms with drawn samples, their units and those without them, seed by seed."""
    for arm, without in WITHOUT.items():
        known = {unit["seed"]: unit for unit in arms.get(without, ())}
        own = [unit for unit in arms.get(arm, ()) if unit["seed"] in known]
        if own:
            yield arm, own, [known[unit["seed"]] for unit in own]


def _of_arm(arm: str, own: Sequence[Unit], other: Sequence[Unit]) -> dict[str, Any]:
    """Units with drawn samples and those without, seed by seed."""
    results = [unit["result"] for unit in own]
    worst = min(
        100 * float(np.mean([r["classes"][name][1] - r["classes"][name][0] for r in results]))
        for name in results[0]["classes"]
    )
    keys = [(unit["seed"], 0) for unit in own]
    both = [dict(unit) for unit in (*own, *other)]
    return {
        f"G7_{arm}": difference(both, arm, str(other[0]["arm"]), "map50", keys, POINTS),
        f"G7_{arm}_champion": _above_first(arm, own),
        f"G7_{arm}_class": bars.entry(worst, bound=CLASS_POINTS),
        f"G7_{arm}_flips": _flips(results),
        f"G7_{arm}_false": _more_false(results, [unit["result"] for unit in other]),
    }


def _above_first(arm: str, own: Sequence[Unit]) -> dict[str, Any]:
    """Over groups too where the first detector was resampled, else over seeds alone."""
    results = [unit["result"] for unit in own]
    if any("resampled_before" not in result for result in results):
        return bar([100 * (one["map50"] - one["map50_before"]) for one in results], POINTS)
    first = [
        {
            "arm": FIRST,
            "seed": unit["seed"],
            "result": {
                "map50": unit["result"]["map50_before"],
                "resampled": unit["result"]["resampled_before"],
            },
        }
        for unit in own
    ]
    keys = [(unit["seed"], 0) for unit in own]
    return difference([*map(dict, own), *first], arm, FIRST, "map50", keys, POINTS)


def _flips(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not _by_group(results):
        return bar([one["negative_flips"] for one in results], FLIPS, at_most=True)
    share = interval(*_counts(results, lambda row: [row[LOST], row[FOUND]]))
    return bars.entry(*(value / 100 for value in share), bound=FLIPS, sense="<=")


def _more_false(
    results: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """False detections more than without drawn samples, a seed."""
    if not _by_group([*results, *others]):
        pairs = zip(results, others, strict=True)
        more = [float(a["false_detections"][1] - b["false_detections"][1]) for a, b in pairs]
        return bar(more, 0.0, at_most=True)
    own, shared = _counts(results, lambda row: [row[FALSE_NOW], 0])
    other, _ = _counts(others, lambda row: [row[FALSE_NOW], 0])
    apart = [a - b for a, b in zip(own, other, strict=True)]
    return bars.entry(*count_a_seed(apart, shared), bound=0.0, sense="<=")


def _by_group(results: Sequence[Mapping[str, Any]]) -> bool:
    return all("holdout" in result for result in results)


def _counts(
    results: Sequence[Mapping[str, Any]], columns: Callable[[Sequence[Any]], list[float]]
) -> tuple[list[Counts], bool]:
    """[G, 2] of each seed, and whether row g is the same group for all of them."""
    shared = any(result["resampled"].get("shared_draws") for result in results)
    every = sorted({row[0] for result in results for row in result["holdout"]})
    found = []
    for result in results:
        known = {row[0]: columns(row) for row in result["holdout"]}
        names = every if shared else sorted(known)
        found.append(np.array([known.get(name, [0, 0]) for name in names], np.float64))
    return found, shared
