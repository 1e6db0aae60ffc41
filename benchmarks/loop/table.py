"""From units of work to one table, the bars T1 to T13 and one plot."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from benchmarks.loop.arms import ARMS
from benchmarks.loop.training import SAME_DATA

Unit = dict[str, Any]
LOOK_S, BOX_S = 3, 7
RIVALS = tuple(arm.name for arm in ARMS if not arm.explains and arm.name != "oracle")


def interval(values: Sequence[float], repeats: int = 4000) -> tuple[float, float, float]:
    """Mean with a 95 % bootstrap interval over seeds."""
    rows = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(0, len(rows), (repeats, len(rows)))
    means = rows[draws].mean(axis=1)
    return float(rows.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def bar(values: Sequence[float], bound: float, at_most: bool = False) -> dict[str, Any]:
    """A bar of the result file; no value where nothing was measured."""
    if not len(values):
        return {"value": None, "low": None, "high": None, "bar": bound, "met": False}
    value, low, high = interval(values)
    met = value <= bound if at_most else value >= bound
    return {"value": value, "low": low, "high": high, "bar": bound, "met": bool(met)}


def by_arm(units: Sequence[Unit], key: str) -> dict[str, dict[Any, float]]:
    """key of every unit, by arm, then by (seed, budget)."""
    values: dict[str, dict[Any, float]] = defaultdict(dict)
    for unit in units:
        if unit["result"].get(key) is not None:
            values[unit["arm"]][unit["seed"], unit.get("budget")] = unit["result"][key]
    return values


def retrieval_bars(
    units: Sequence[Unit], modes: Sequence[Unit], single: Sequence[Unit]
) -> dict[str, Any]:
    """T10 to T13; T12 of whole policies, and of the regions when each failure asks alone."""
    useful, enrichment = by_arm(units, "useful"), by_arm(units, "enrichment")
    ratio = [
        useful["e2x"][key] / max(value, 1 / 100)
        for key, value in useful["e2x_random_regions"].items()
        if key in useful["e2x"]
    ]
    found = [unit["result"]["precision_at_10"] for unit in modes]
    own = [unit for unit in single if unit["result"].get("random")]
    return {
        "T10": bar(list(useful["e2x"].values()), 0.55),
        "T11": bar(list(enrichment["e2x"].values()), 10),
        "T12": bar(ratio, 2),
        "T12_regions_alone": bar([u["result"]["negative"] / u["result"]["random"] for u in own], 2),
        "T13": bar(found, 0.60),
    }


def training_bars(units: Sequence[Unit]) -> dict[str, Any]:
    """T1 to T7, paired by seed; budgets are averaged where the metric is no curve."""
    ap, fixed = by_arm(units, "slice_ap50"), by_arm(units, "siblings_fixed")
    flips, everywhere = by_arm(units, "negative_flips"), by_arm(units, "map50")
    keys = [key for key in ap["e2x"] if key in ap["random"]]
    if not keys:
        return {}
    floor = {seed: value for (seed, _), value in flips[SAME_DATA].items()}
    last = max(budget for _, budget in keys)
    pairs = [key for key in keys if key[1] == last]
    rivals = {name: ap[name] for name in RIVALS if all(key in ap[name] for key in pairs)}
    best = max(rivals, key=lambda name: float(np.mean([rivals[name][k] for k in pairs])))
    return {
        "T1": bar([_labels_needed(ap, seed, keys) for seed, _ in pairs], 1 / 3, at_most=True),
        "T2": bar([100 * (ap["e2x"][k] - ap["random"][k]) for k in keys], 5),
        "T3": {**bar([100 * (ap["e2x"][k] - rivals[best][k]) for k in pairs], 0), "rival": best},
        "T4": bar([100 * (everywhere["e2x"][k] - everywhere["random"][k]) for k in keys], 1),
        "T6": bar([fixed["e2x"][k] / max(1, fixed["random"][k]) for k in pairs], 3),
        "T7": bar([flips["e2x"][k] - floor.get(k[0], 0.0) for k in keys], 0.01, at_most=True),
    }


def _labels_needed(ap: dict[str, dict[Any, float]], seed: int, keys: Sequence[Any]) -> float:
    """Share of random's largest budget at which E2X reaches random's final AP; linear between.

    Starts from the noise floor at budget 0; 1 where E2X never gets there.
    """
    budgets = sorted(budget for own, budget in keys if own == seed)
    start = next((v for (own, _), v in ap[SAME_DATA].items() if own == seed), 0.0)
    curve = [start, *(ap["e2x"][seed, budget] for budget in budgets)]
    goal = ap["random"][seed, budgets[-1]]
    points = [0, *budgets]
    for row in range(1, len(points)):
        if curve[row] >= goal:
            rise = max(curve[row] - curve[row - 1], 1e-9)
            part = min(1.0, max(0.0, (goal - curve[row - 1]) / rise))
            reached = points[row - 1] + part * (points[row] - points[row - 1])
            return float(reached / budgets[-1])
    return 1.0


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


def means(results: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Mean and interval over seeds of every value that all results have."""
    shared = [key for key in results[0] if all(key in r for r in results)] if results else []
    return {key: [round(v, 4) for v in interval([r[key] for r in results])] for key in shared}


def environment(command: str) -> dict[str, Any]:
    """Machine, versions and command of a result file."""
    return {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "command": command,
    }


def plot(table: Sequence[dict[str, Any]], start: float | None, path: Path) -> None:
    """Slice AP against boxes labelled, one line an arm with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 5), layout="constrained")
    arms = sorted({row["arm"] for row in table if row["arm"] != SAME_DATA})
    for number, arm in enumerate(arms):
        own = [row for row in table if row["arm"] == arm and row["slice_ap50"]]
        x = [0.0] * (start is not None) + [row["boxes"][0] for row in own]
        middle = [start] * (start is not None) + [row["slice_ap50"][0] for row in own]
        low = [start] * (start is not None) + [row["slice_ap50"][1] for row in own]
        high = [start] * (start is not None) + [row["slice_ap50"][2] for row in own]
        thick = 2.6 if arm == "e2x" else 1.2
        axes.plot(x, middle, marker="o", label=arm, linewidth=thick, color=f"C{number % 10}")
        axes.fill_between(x, low, high, alpha=0.08, color=f"C{number % 10}")
    axes.set(xlabel="boxes labelled", ylabel="slice AP50 (siblings of the failures)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
