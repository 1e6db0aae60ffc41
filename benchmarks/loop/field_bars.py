"""F1 to F5: what a policy adds to the failing frames that teach, and how these should be dealt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.loop.arms import DEALS, FIELD_FRAMES
from benchmarks.loop.bars import Unit, bar, by_arm, difference, labels_needed
from benchmarks.loop.field import is_fixed

SIDES = ("judges", "parents", "siblings")


def field_bars(units: Sequence[Unit]) -> dict[str, Any]:
    """F1 to F3 and F5: what a policy adds to the failing frames that teach, at the largest budget.

    The frames alone are E2X with a budget of nothing. F1 and F2 stand twice: against what is
    wanted, and against nothing at all.
    """
    ap = by_arm(units, "slice_ap50")
    own, random = f"{FIELD_FRAMES}_e2x", f"{FIELD_FRAMES}_random"
    shared = [key for key in ap[own] if key in ap[random] and (key[0], 0) in ap[FIELD_FRAMES]]
    if not shared:
        return {}
    last = max(budget for _, budget in shared)
    keys = [key for key in shared if key[1] == last]
    alone = [  # the frames alone, as if at this budget, so that they pair
        {**unit, "budget": last} for unit in units if unit["arm"] == FIELD_FRAMES
    ]
    asking = [unit for unit in units if unit["arm"] not in DEALS]

    def needed(arm: str) -> list[float]:
        """Of a seed each; seeds that the arm lacks are left out."""
        known = ap[FIELD_FRAMES] | ap[arm]
        return [labels_needed(known, ap[random], s, b) for s, b in keys if (s, b) in ap[arm]]

    # What choosing by the planted cause itself needs: no policy can be asked for more.
    known = needed(f"{FIELD_FRAMES}_oracle")
    limit = bar(known, 1 / 3, at_most=True) if known else None
    oracle = [limit[key] for key in ("value", "low", "high")] if limit else None

    def above(rival: str, bound: float) -> dict[str, Any]:
        entry = difference([*alone, *asking], own, rival, "slice_ap50", keys, bound)
        return entry | {"budget": last}

    return {
        "F1": above(random, 2),
        "F1_at_all": above(random, 0),
        "F2": above(FIELD_FRAMES, 3),
        "F2_at_all": above(FIELD_FRAMES, 0),
        "F3": bar(needed(own), 1 / 3, at_most=True) | {"oracle": oracle},
        "F5": agreement([u for u in units if u["arm"] == FIELD_FRAMES or u["arm"] not in DEALS]),
    }


def deals(units: Sequence[Unit]) -> dict[str, dict[str, Any]]:
    """By way of dealing the frames, no label bought: how far its judges and siblings agree."""
    own = {arm: [unit for unit in units if unit["arm"] == arm] for arm in DEALS}
    return {
        arm: agreement(found) | {"slice_ap_above_default": _above_default(units, arm)}
        for arm, found in own.items()
        if found
    }


def _above_default(units: Sequence[Unit], arm: str) -> dict[str, Any] | None:
    """Points of slice AP by which the frames so dealt are above the default; None for itself."""
    ap = by_arm(units, "slice_ap50")
    keys = [key for key in ap[arm] if key in ap[FIELD_FRAMES]]
    if arm == FIELD_FRAMES or not keys:
        return None
    return difference(units, arm, FIELD_FRAMES, "slice_ap50", keys, 0) | {"seeds": len(keys)}


def above(units: Sequence[Unit], own: str, rivals: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Points of slice AP by which an arm is above rivals, by rival, over the budgets they share."""
    ap, found = by_arm(units, "slice_ap50"), {}
    for rival in rivals:
        keys = [key for key in ap[own] if key in ap[rival]]
        if keys:
            seeds = len({seed for seed, _ in keys})
            found[rival] = difference(units, own, rival, "slice_ap50", keys, 0) | {"seeds": seeds}
    return found


def agreement(units: Sequence[Unit]) -> dict[str, Any]:
    """The share of modes of which judges and siblings say the same, over the units of each seed.

    Modes that lack a judge or a sibling are left out. Beside it how many each says are fixed:
    where hardly any is, or all are, to agree is no art; which share of their places is mended; and
    how often they would agree if both were random samples of places that fail at one rate.
    """
    said: dict[int, list[tuple[bool, bool]]] = defaultdict(list)
    alike: dict[int, list[float]] = defaultdict(list)
    places: dict[str, list[tuple[int, int]]] = {side: [] for side in SIDES}
    for unit in units:
        for mode in unit["result"].get("modes", ()):
            if mode["judges"][1] and mode["siblings"][1]:
                verdict = is_fixed(mode["judges"]), is_fixed(mode["siblings"])
                said[unit["seed"]].append(verdict)
                alike[unit["seed"]].append(_of_one_rate(mode["judges"], mode["siblings"]))
                for side in SIDES:
                    places[side].append(mode[side])
    agreed = [float(np.mean([one == other for one, other in own])) for own in said.values()]
    every = [verdict for own in said.values() for verdict in own]
    beside: dict[str, Any] = {"modes": len(every), "of_one_rate": None} | {
        name: float(np.mean([verdict[side] for verdict in every]))
        for side, name in enumerate(("fixed_by_judges", "fixed_by_siblings"))
        if every
    }
    if alike:
        beside["of_one_rate"] = float(np.mean([np.mean(own) for own in alike.values()]))
    for side, counts in places.items():
        failing, known = np.sum(counts, axis=0) if counts else (0, 0)
        beside[f"mended_{side}"] = float(1 - failing / known) if known else None
    return bar(agreed, 0.9) | beside


def _of_one_rate(judges: Sequence[int], siblings: Sequence[int]) -> float:
    """How probably two counts as large say the same of a mode whose places fail at one rate.

    The rate is that of both together. It is what the sizes of the samples allow: more agreement
    takes more frames, not a better judge.
    """
    rate = (judges[0] + siblings[0]) / (judges[1] + siblings[1])
    fixed = [
        sum(binom.pmf(k, places, rate) for k in range(places + 1) if is_fixed((k, places)))
        for places in (judges[1], siblings[1])
    ]
    return float(fixed[0] * fixed[1] + (1 - fixed[0]) * (1 - fixed[1]))
