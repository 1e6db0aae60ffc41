"""The bars T1 to T13 with their intervals; those of the failing frames are in ``field_bars``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import bars
from benchmarks.loop.arms import ARMS
from benchmarks.loop.training import SAME_DATA
from curation.kernel.types import FloatArray

Unit = dict[str, Any]
Key = tuple[int, int]
"""Seed, and budget in boxes; 0 where there is none."""
REPEATS = 4000
RIVALS = tuple(arm.name for arm in ARMS if not arm.explains and arm.name != "oracle")


def interval(values: Sequence[float], repeats: int = REPEATS) -> tuple[float, float, float]:
    """Mean with a 95 % bootstrap interval over seeds."""
    rows = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(0, len(rows), (repeats, len(rows)))
    means = rows[draws].mean(axis=1)
    return float(rows.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def bar(values: Sequence[float], bound: float, at_most: bool = False) -> dict[str, Any]:
    """A bar of the result file; no value where nothing was measured."""
    if not len(values):
        return bars.entry(None, bound=bound)
    return bars.entry(*interval(values), bound=bound, sense="<=" if at_most else ">=")


def ratio(
    first: Sequence[float], second: Sequence[float], bound: float, repeats: int = REPEATS
) -> dict[str, Any]:
    """A bar of what the first counts in all over what the second does, paired by seed.

    Of totals: a seed in which the second counts one or two would carry a mean of ratios. A total
    of none counts as one.
    """
    pairs = np.array([first, second], np.float64)
    if not pairs.size:
        return bar([], bound)
    rows = np.random.default_rng(0).integers(0, pairs.shape[1], (repeats, pairs.shape[1]))
    drawn = pairs[:, rows].sum(axis=2)
    low, high = np.quantile(drawn[0] / np.maximum(drawn[1], 1), [0.025, 0.975])
    value = float(pairs[0].sum() / max(pairs[1].sum(), 1))
    return bars.entry(value, float(low), float(high), bound=bound)


def difference(
    units: Sequence[Unit], first: str, second: str, key: str, keys: Sequence[Key], bound: float
) -> dict[str, Any]:
    """A bar of points by which the first arm is above the second, paired.

    Budgets of one seed share world, base detector and test images, so they are averaged and count
    once. The interval is over seeds, and within each over the groups of its test images where
    units carry resampled figures; where one lacks them, over seeds alone. Where seeds share their
    groups, a draw of groups is the same for all of them.
    """
    values = by_arm(units, key)
    gains = {k: 100 * (values[first][k] - values[second][k]) for k in keys}
    entry = bar(list(by_seed(gains).values()), bound)
    drawn = by_arm([{**u, "result": u["result"].get("resampled", {})} for u in units], key)
    if not keys or any(k not in drawn[arm] for arm in (first, second) for k in keys):
        return entry | {"interval_over": "seeds"}
    own = _by_draw({k: _gains(drawn[first][k], drawn[second][k]) for k in keys})
    shared = any(unit["result"].get("resampled", {}).get("shared_draws") for unit in units)
    low, high = np.quantile(_means(own, shared), [0.025, 0.975])
    over = "seeds and the groups that they share" if shared else "seeds and groups"
    drawn_too = bars.entry(entry["value"], float(low), float(high), bound=bound)
    return drawn_too | {"interval_over": over}


def _means(own: Sequence[FloatArray], shared: bool) -> list[float]:
    """Means over seeds drawn with replacement, each at a draw of its groups, or all at the same."""
    rng = np.random.default_rng(0)
    if not shared:
        known = [draws[~np.isnan(draws)] for draws in own]
        rows = (rng.integers(0, len(own), len(own)) for _ in range(REPEATS))
        return [float(np.mean([rng.choice(known[row]) for row in each])) for each in rows]
    draws = np.stack([each[: min(map(len, own))] for each in own])  # [S, R]
    draws = draws[:, ~np.isnan(draws).any(axis=0)]
    seeds = rng.integers(0, len(own), (REPEATS, len(own)))
    at = rng.integers(0, draws.shape[1], (REPEATS, 1))
    means: list[float] = draws[seeds, at].mean(axis=1).tolist()
    return means


def _gains(first: Sequence[float | None], second: Sequence[float | None]) -> FloatArray:
    """[R] points between draws of the same number, NaN where one of them lacks it."""
    pairs = zip(first, second, strict=False)  # units may hold fewer draws than others
    gains = [np.nan if a is None or b is None else 100 * (a - b) for a, b in pairs]
    return np.array(gains, np.float64)


def _by_draw(gains: dict[Key, FloatArray]) -> list[FloatArray]:
    """For each seed its draws, each the mean over the budgets."""
    seeds: dict[int, list[FloatArray]] = defaultdict(list)
    for (seed, _), draws in gains.items():
        seeds[seed].append(draws)
    return [
        np.mean([draws[: min(map(len, budgets))] for draws in budgets], axis=0)
        for budgets in seeds.values()
    ]


def by_seed(values: dict[Key, float]) -> dict[int, float]:
    """Means over the budgets of each seed."""
    found: dict[int, list[float]] = defaultdict(list)
    for (seed, _), value in values.items():
        found[seed].append(value)
    return {seed: float(np.mean(own)) for seed, own in found.items()}


def by_arm(units: Sequence[Unit], key: str) -> dict[str, dict[Key, Any]]:
    """key of every unit, by arm, then by (seed, budget)."""
    values: dict[str, dict[Key, Any]] = defaultdict(dict)
    for unit in units:
        if unit["result"].get(key) is not None:
            values[unit["arm"]][unit["seed"], unit.get("budget") or 0] = unit["result"][key]
    return values


def retrieval_bars(
    units: Sequence[Unit], modes: Sequence[Unit], single: Sequence[Unit]
) -> dict[str, Any]:
    """T10 to T13; T12 of whole policies, and of the regions when each failure asks alone; F4 in
    points of precision of single failures, regions that hurt above other queries; F4_anywhere the
    same of regions wherever they lie, and F4_named of those that the service names, in worlds that
    tell."""
    useful, enrichment = by_arm(units, "useful"), by_arm(units, "enrichment")
    times = [
        useful["e2x"][key] / max(value, 1 / 100)
        for key, value in useful["e2x_random_regions"].items()
        if key in useful["e2x"]
    ]
    found = [unit["result"]["precision_at_10"] for unit in modes]
    lots = [unit["result"]["by_lot"] for unit in modes]
    by_lot = {"by_lot": float(np.mean(lots))} if lots else {}
    own = [unit for unit in single if unit["result"].get("random")]
    told = [unit["result"] for unit in own if "whole_image" in unit["result"]]
    above = {
        f"F4_regions_above_{rival}": bar([100 * (one["negative"] - one[rival]) for one in told], 0)
        for rival in ("whole_image", "box", "random")
    }
    for variant in ("anywhere", "named"):
        far = [one for one in told if variant in one]
        for rival in ("whole_image", "box", "random", "negative") if far else ():
            above[f"F4_{variant}_above_{rival}"] = bar(
                [100 * (one[variant] - one[rival]) for one in far], 0
            )
    return above | {
        "T10": bar(list(useful["e2x"].values()), 0.55),
        "T11": bar(list(enrichment["e2x"].values()), 10),
        "T12": bar(times, 2),
        "T12_regions_alone": bar([u["result"]["negative"] / u["result"]["random"] for u in own], 2),
        "T13": bar(found, 0.60) | by_lot,
    }


def training_bars(units: Sequence[Unit]) -> dict[str, Any]:
    """T1 to T7, paired by seed; budgets of a seed are averaged, T4 takes the worst.

    T3's rival is chosen on the seeds in which random was trained too, the full protocol, and
    measured on all that it shares with E2X. T1 needs E2X at several budgets. T7 is above the noise
    floor, which stands beside it.
    """
    ap, fixed = by_arm(units, "slice_ap50"), by_arm(units, "siblings_fixed")
    keys = [key for key in ap["e2x"] if key in ap["random"]]
    if not keys:
        return {}
    last = max(budget for _, budget in keys)
    pairs = [key for key in keys if key[1] == last]
    rivals = {name: ap[name] for name in RIVALS if all(key in ap[name] for key in pairs)}
    best = max(rivals, key=lambda name: float(np.mean([rivals[name][k] for k in pairs])))
    smaller = any(budget < last for _, budget in ap["e2x"])  # or there is nothing to save
    needed = [labels_needed(ap["e2x"], ap["random"], s, last) for s, _ in pairs] if smaller else []
    return {
        "T1": bar(needed, 1 / 3, at_most=True),
        "T2": difference(units, "e2x", "random", "slice_ap50", keys, 5),
        "T3": _lead(units, best, last) | {"rival": best},
        "T4": _worst_budget(units, keys),
        "T6": ratio([fixed["e2x"][k] for k in pairs], [fixed["random"][k] for k in pairs], 3),
        "T7": _flips(by_arm(units, "negative_flips"), keys),
    }


def _worst_budget(units: Sequence[Unit], keys: Sequence[Key]) -> dict[str, Any]:
    """Points of global AP above random, at the budget where they are fewest."""
    found = [
        difference(units, "e2x", "random", "map50", [k for k in keys if k[1] == budget], 1)
        | {"budget": budget}
        for budget in sorted({budget for _, budget in keys})
    ]
    return min(found, key=lambda entry: float(entry["value"]))


def _flips(flips: dict[str, dict[Key, float]], keys: Sequence[Key]) -> dict[str, Any]:
    """Negative flips above those of training again on the same data."""
    own = by_seed({key: flips["e2x"][key] for key in keys})
    floor = {seed: flips[SAME_DATA].get((seed, 0), 0.0) for seed in own}
    return bar([own[seed] - floor[seed] for seed in own], 0.01, at_most=True) | {
        "flips": float(np.mean(list(own.values()))),
        "noise_floor": float(np.mean(list(floor.values()))),
    }


def leads(units: Sequence[Unit]) -> dict[int, dict[str, dict[str, Any]]]:
    """Points of slice AP by which E2X is above each arm, on shared seeds: the largest budget first.

    Budgets at which it has no rival are left out.
    """
    ap = by_arm(units, "slice_ap50")
    budgets = sorted({budget for _, budget in ap["e2x"]}, reverse=True)
    found = {budget: _leads(units, budget) for budget in budgets}
    return {budget: entries for budget, entries in found.items() if entries}


def _leads(units: Sequence[Unit], budget: int) -> dict[str, dict[str, Any]]:
    ap = by_arm(units, "slice_ap50")
    rivals = sorted(arm for arm in ap.keys() - {"e2x", SAME_DATA} if _shared(ap, arm, budget))
    shown = ("seeds", "value", "low", "high", "interval_over")  # no bar is set for them
    found = {arm: _lead(units, arm, budget) for arm in rivals}
    return {arm: {key: entry[key] for key in shown} for arm, entry in found.items()}


def _lead(units: Sequence[Unit], rival: str, budget: int) -> dict[str, Any]:
    keys = _shared(by_arm(units, "slice_ap50"), rival, budget)
    return difference(units, "e2x", rival, "slice_ap50", keys, 0) | {"seeds": len(keys)}


def _shared(ap: dict[str, dict[Key, Any]], rival: str, budget: int) -> list[Key]:
    return [key for key in ap["e2x"] if key in ap[rival] and key[1] == budget]


def full_protocol(units: Sequence[Unit]) -> list[Unit]:
    """The units of the seeds in which random was trained: means over others are no comparison.

    All of them where random was not trained at all.
    """
    seeds = {unit["seed"] for unit in units if unit["arm"] == "random"}
    return [unit for unit in units if unit["seed"] in seeds or not seeds]


def cycle_bars(units: Sequence[Unit]) -> dict[str, Any]:
    """T6 over two cycles, and T9."""
    fixed, reopened = by_arm(units, "siblings_fixed"), by_arm(units, "reopened")
    keys = [key for key in fixed["e2x"] if key in fixed["random"]]
    return {
        "T6_two_cycles": ratio(
            [fixed["e2x"][k] for k in keys], [fixed["random"][k] for k in keys], 3
        ),
        "T9": bar(list(reopened["e2x"].values()), 0.05, at_most=True),
    }


def labels_needed(
    own: Mapping[Key, float], rival: Mapping[Key, float], seed: int, last: int
) -> float:
    """Share of the rival's largest budget from which on an arm is not below the rival's final AP.

    Only budgets that were trained count, nothing is read off a line between them; 1 where it is
    below with the largest.
    """
    goal, needed = rival[seed, last], last
    for budget in sorted((b for one, b in own if one == seed and b <= last), reverse=True):
        if own[seed, budget] < goal:
            break
        needed = budget
    return needed / last
