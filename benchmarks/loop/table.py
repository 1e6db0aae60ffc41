"""From units of work to one table and one plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine
from benchmarks.loop.bars import Unit, interval
from benchmarks.loop.training import SAME_DATA

LOOK_S, BOX_S = 3, 7
DODGE = 0.7
"""Boxes between the intervals of neighbouring arms in the plot."""


def with_seconds(units: Sequence[Unit]) -> list[Unit]:
    """Units whose result says how long a person would label: a look at each image, then boxes.

    Source:
        7 s a box by extreme clicking: Papadopoulos et al., "Extreme Clicking for Efficient Object
        Annotation", ICCV 2017. The look is ours.
    """
    return [
        {
            **unit,
            "result": {
                **unit["result"],
                "seconds": LOOK_S * unit["result"]["images"] + BOX_S * unit["result"]["boxes"],
            },
        }
        for unit in units
    ]


def rows(units: Sequence[Unit], keys: Sequence[str]) -> list[dict[str, Any]]:
    """One row an arm and budget: mean and interval of each key over seeds, best first."""
    groups: dict[Any, list[Unit]] = defaultdict(list)
    for unit in units:
        groups[unit["arm"], unit.get("budget")].append(unit)
    table = []
    for (arm, budget), members in groups.items():
        row: dict[str, Any] = {"arm": arm, "budget": budget, "seeds": len(members)}
        for key in keys:
            values = [m["result"][key] for m in members if m["result"].get(key) is not None]
            row[key] = [round(v, 4) for v in interval(values)] if values else None
        table.append(row)
    first = keys[0]
    return sorted(table, key=lambda r: (r["budget"] or 0, -(r[first] or [0])[0], r["arm"]))


def whole(units: Sequence[Unit]) -> list[Unit]:
    """Units of arms and budgets that all seeds have: means over other seeds are no comparison."""
    seeds = {unit["seed"] for unit in units}
    of_seeds: dict[Any, set[int]] = defaultdict(set)
    for unit in units:
        of_seeds[unit["arm"], unit.get("budget")].add(unit["seed"])
    return [unit for unit in units if of_seeds[unit["arm"], unit.get("budget")] == seeds]


def same_start(units: Sequence[Unit], others: Sequence[Unit]) -> list[Unit]:
    """Those of other units that began with the same detector, of the same seeds and budgets.

    Another version of a package trains another first detector from the same seed: then they are
    no comparison.
    """
    start = {unit["seed"]: unit["result"]["slice_ap50_before"] for unit in units}
    budgets = {unit["budget"] for unit in units}
    found = [
        unit
        for unit in others
        if unit["budget"] in budgets
        and start.get(unit["seed"]) == unit["result"]["slice_ap50_before"]
    ]
    return [unit for unit in whole([*units, *found]) if unit in found]


def means(results: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Mean and interval over seeds of every value that all results have."""
    shared = [key for key in results[0] if all(key in r for r in results)] if results else []
    return {key: [round(v, 4) for v in interval([r[key] for r in results])] for key in shared}


def environment(command: str) -> dict[str, Any]:
    """Machine, versions and command of a result file."""
    return {
        "machine": machine.machine("cuda" if torch.cuda.is_available() else "cpu"),
        "versions": machine.versions(),
        "command": command,
    }


def plot(table: Sequence[dict[str, Any]], start: float | None, path: Path) -> None:
    """Slice AP against boxes labelled, one line an arm with its interval.

    An arm that was trained at one budget is a point: a line would promise what lies between.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    ends = {row["arm"]: row["slice_ap50"][0] for row in table if row["slice_ap50"]}  # last budget
    arms = sorted(ends.keys() - {SAME_DATA}, key=lambda arm: -ends[arm])
    for number, arm in enumerate(arms):
        colour = "black" if arm == "e2x" else pyplot.get_cmap("tab20")(number % 20)
        own = [row for row in table if row["arm"] == arm and row["slice_ap50"]]
        from_floor = start is not None and len(own) > 1
        beside = DODGE * (number - len(arms) / 2)  # or intervals of many arms hide one another
        x = [0.0] * from_floor + [row["boxes"][0] + beside for row in own]
        middle = [start] * from_floor + [row["slice_ap50"][0] for row in own]
        thick = 2.6 if arm == "e2x" else 1.2
        axes.plot(x, middle, marker="o", label=arm, linewidth=thick, color=colour)
        for at, row in zip(x[from_floor:], own, strict=True):
            axes.plot([at, at], row["slice_ap50"][1:], linewidth=thick, color=colour, alpha=0.5)
    if start is not None:
        axes.axhline(start, color="grey", linestyle=":", label=f"{SAME_DATA}: the noise floor")
    axes.set_xlabel("boxes labelled (arms side by side)")
    axes.set_ylabel("slice AP50 (siblings of the failures)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
