"""Tables and bars from the rows of the parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity import methods
from benchmarks.fidelity.references import COSTS, EXACT_COST
from curation.explain.fidelity import Interval, bootstrap

Row = dict[str, Any]
Rows = Sequence[Row]
Table = list[Row]
SEED, RESAMPLES = 0, 2000
RANKS = (
    "spearman_matter",
    "spearman_mass",
    "spearman_rest",
    "sign_matter",
    "worst_overlap",
    "matter",
    "passes",
)
"""Order and sign among the superpixels that matter and among the rest, and how many matter."""
PLAIN_PAIR = 2.0
"""Strength of a planted pair whose two superpixels are each worth the strongest of the detector."""


def mean(rows: Iterable[Row], value: str) -> Interval:
    """Of one column, images drawn as groups."""
    kept = [row for row in rows if row.get(value) is not None]
    return bootstrap(
        [float(row[value]) for row in kept],
        [row["image"] for row in kept],
        np.random.default_rng(SEED),
    )


def difference(ours: Rows, theirs: Rows, value: str) -> Interval:
    """Ours minus theirs, paired by detection."""
    rivals = {row["detection"]: row[value] for row in theirs}
    pairs = [row for row in ours if row["detection"] in rivals]
    return bootstrap(
        [row[value] - rivals[row["detection"]] for row in pairs],
        [row["image"] for row in pairs],
        np.random.default_rng(SEED),
    )


def by(rows: Rows, *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of some columns, in order of appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return dict(groups)


def cell(interval: Interval, digits: int = 3) -> list[float | None]:
    """Mean, low and high, rounded; None for NaN."""
    return [None if np.isnan(number) else round(number, digits) for number in interval]


def agreement(rows: Rows) -> Table:
    """Correlations for each number of segments, cost and method."""
    table = []
    for (asked, cost, name), group in by(rows, "asked", "cost", "method").items():
        halves = [row["split_half"] for row in group if row["split_half"] is not None]
        half = float(np.mean(halves)) if halves else None
        ours = [
            row
            for row in rows
            if (row["asked"], row["cost"], row["method"]) == (asked, cost, methods.OURS)
        ]
        table.append(
            {
                "asked": asked,
                "segments": round(float(np.mean([row["segments"] for row in group])), 1),
                "cost": cost,
                "method": name,
                "detections": len(group),
                "images": len({row["image"] for row in group}),
                "rho": cell(mean(group, "rho")),
                "spearman": cell(mean(group, "spearman")),
                "sign": cell(mean(group, "sign")),
                **{name: cell(mean(group, name)) for name in RANKS},
                "ours_minus_this": cell(difference(ours, group, "rho")),
                "ours_minus_this_order": cell(difference(ours, group, "spearman_matter")),
                "ceiling": None if half is None else round((2 * half / (1 + half)) ** 0.5, 3),
                "seconds": round(float(np.mean([row["seconds"] for row in group])), 2),
            }
        )
    return table


def exact_bar(rows: Rows) -> Row:
    """Mean correlation with the exact values at cost 128."""
    ours = [r for r in rows if r["method"] == methods.OURS and r["cost"] == EXACT_COST]
    found = mean(ours, "rho")
    return bar(found, 0.95, found.mean >= 0.95) | {"detections": len(ours)}


def best_bars(rows: Rows, asked: int) -> dict[str, Row]:
    """Ours against the nearest rival at each cost, and the verdict over the costs."""
    rows = [row for row in rows if row["asked"] == asked]
    bars: dict[str, Row] = {}
    for cost in COSTS:
        here = by([row for row in rows if row["cost"] == cost], "method")
        ours = here.get((methods.OURS,), [])
        gaps = {
            name: difference(ours, here[(name,)], "rho")
            for name in methods.RIVALS
            if (name,) in here
        }
        if not ours or not gaps:
            continue
        # one image has no interval
        nearest = min(gaps, key=lambda name: np.nan_to_num(gaps[name].low, nan=gaps[name].mean))
        bars[f"rho_best_{cost}"] = bar(gaps[nearest], 0.0, gaps[nearest].low > 0) | {
            "rho": cell(mean(ours, "rho")),
            "detections": len(ours),
            "images": len({row["image"] for row in ours}),
            "differences": {name: cell(gap) for name, gap in gaps.items()},
        }
    if bars:
        clear = sum(entry["met"] for entry in bars.values())
        worse = sum((entry["high"] or 0) < 0 for entry in bars.values())
        bars["rho_best"] = {
            "value": clear,
            "low": None,
            "high": None,
            "bar": "differences to all rivals above zero at 2 of 3 costs, below zero at none",
            "met": clear >= 2 and worse == 0,
        }
    return bars


def bar(found: Interval, wanted: Any, met: bool) -> Row:
    """One entry of the bars."""
    value, low, high = cell(found, 4)
    return {"value": value, "low": low, "high": high, "bar": wanted, "met": bool(met)}


def simple(rows: Rows, columns: Sequence[str], values: Sequence[str]) -> Table:
    """Means of some values for each combination of columns."""
    table = []
    for names, group in by(rows, *columns).items():
        entry: Row = dict(zip(columns, names, strict=True))
        entry |= {"detections": len(group), "images": len({row["image"] for row in group})}
        entry |= {value: cell(mean(group, value)) for value in values}
        table.append(entry)
    return table


def recovery(rows: Rows) -> tuple[Table, Row | None]:
    """Share of misses that get surer without the most negative region of each method."""
    # a miss of a planted cause is also one of its image's other cases
    once = {(row["detection"], row["method"]): row for row in rows}
    flat = [
        row
        | {
            "recovers": _share([row["gain"]]),
            "recovers_single": _share([row.get("gain_single", float("nan"))]),
            "recovers_random": _share(row.get("gain_random", [])),
        }
        for row in once.values()
    ]
    kinds = ("recovers", "recovers_random", "recovers_single", "gain", "superpixels")
    table = simple(flat, ("method",), (*kinds, "passes", "passes_each"))
    here = by(flat, "method")
    ours = here.get((methods.OURS,), [])
    if not ours:
        return table, None
    found, chance = mean(ours, "recovers"), mean(ours, "recovers_random")
    rivals = {
        name: difference(ours, here[(name,)], "recovers")
        for name in methods.RIVALS
        if (name,) in here
    }
    above = all(gap.mean > 0 for gap in rivals.values()) and found.mean > chance.mean
    entry = bar(found, ">= 0.8, above random regions and every rival", found.mean >= 0.8 and above)
    entry |= {"detections": len(ours), "random": cell(chance)}
    entry["ours_minus_rival"] = {name: cell(gap) for name, gap in rivals.items()}
    return table, entry


def _share(gains: Sequence[float]) -> float:
    known = [gain for gain in gains if gain is not None and np.isfinite(gain)]
    return float(np.mean([gain > 0 for gain in known])) if known else float("nan")


def pointing(rows: Rows) -> tuple[Table, Row | None]:
    """Hits of the planted causes."""
    values = ("hit", "strict", "touch", "chance", "iou", "cause_share", "passes", "passes_each")
    table = simple(rows, ("method",), values) + simple(rows, ("method", "cause"), values)
    ours = [row for row in rows if row["method"] == methods.OURS]
    if not ours:
        return table, None
    found = mean(ours, "hit")
    entry = bar(found, 0.8, found.mean >= 0.8)
    return table, entry | {"detections": len(ours), "chance": cell(mean(ours, "chance"))}


def pairs(rows: Rows) -> tuple[Table, Row | None]:
    """Planted pairs that are the strongest of all; the bar is at the fewest passes."""
    values = ("first", "in_three", "cut", "told")
    table = simple(rows, ("cost", "strength"), values)
    cheapest = min((row["cost"] for row in rows), default=0)
    judged = [row for row in rows if (row["cost"], row["strength"]) == (cheapest, PLAIN_PAIR)]
    if not judged:
        return table, None
    found = mean(judged, "first")
    return table, bar(found, 0.8, found.low >= 0.8) | {"detections": len(judged)}


def sanity_bars(weights: Rows, relevance: Rows, fgvis: Rows) -> dict[str, Row]:
    """Randomised weights change the map; classes differ for CRP; FGVis is not driven astray."""
    bars: dict[str, Row] = {}
    ours = [r for r in weights if r["method"] == methods.OURS and r["stage"] == "all"]
    if ours:
        found = mean(ours, "spearman")
        bars["sane_weights"] = bar(
            found, "|rho| < 0.2, all weights shuffled", abs(found.mean) < 0.2
        )
    groups = by(relevance, "method")
    if ("crp",) in groups and ("lrp",) in groups:
        gap = difference(groups[("crp",)], groups[("lrp",)], "rho")
        bars["crp_contrast"] = bar(gap, "rho between classes below that of LRP", gap.high < 0) | {
            name: cell(mean(groups[(name,)], "rho")) for name in ("crp", "lrp")
        }
    sides = by(fgvis, "defence")
    if (True,) in sides and (False,) in sides:
        found, without = mean(sides[(True,)], "fooled"), mean(sides[(False,)], "fooled")
        met = found.mean <= 0.05 and without.mean > found.mean
        bars["fgvis_defence"] = bar(found, "<= 0.05 fooled, fewer than without", met) | {
            "without": cell(without)
        }
    return bars


def print_table(title: str, table: Table, show: Callable[[str], None] = print) -> None:
    """As Markdown."""
    if not table:
        return
    columns = list(dict.fromkeys(key for row in table for key in row))
    show(f"\n### {title}\n")
    show("| " + " | ".join(columns) + " |")
    show("|" + "---|" * len(columns))
    for row in table:
        show("| " + " | ".join(_text(row.get(column)) for column in columns) + " |")


def _text(value: Any) -> str:
    if isinstance(value, list):
        number, low, high = ("-" if entry is None else f"{entry:.3g}" for entry in value)
        return f"{number} [{low}, {high}]"
    return "" if value is None else str(value)
