"""Tables and bars of the rivals, of look-alikes and of pulled boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.common.bars import Sense, entry
from benchmarks.fidelity import methods
from benchmarks.fidelity.report import Row, Rows, Table, by, cell, difference, mean, simple
from benchmarks.fidelity.rivals import IN_CONTEXT
from curation.explain.fidelity import Interval

OURS = (methods.OURS, IN_CONTEXT)
JUDGED = ("odam", "d_rise", "g_came", "vx_code", "d_close")
HARMS = ("named", "helps", "hit", "chance", "gain", "passes", "passes_each")
GROUND = {"TP": "found", "FN": "missed"}
HALF = 0.5
"""Of the slowest rival's time."""


def curves(rows: Rows) -> tuple[Table, dict[str, Row]]:
    """Areas for each kind of detection and method; differences of ours to each, paired."""
    table: Table = []
    bars: dict[str, Row] = {}
    for kind, word in GROUND.items():
        here = by([row for row in rows if row["kind"] == kind], "method")
        for (name,), group in here.items():
            table.append(_line(kind, name, group, here))
        bars |= _bars(word, here)
    return table, bars


def _line(kind: str, name: str, group: Rows, here: dict[tuple[Any, ...], list[Row]]) -> Row:
    line: Row = {"kind": kind, "method": name, "tier": group[0]["tier"]}
    line |= {"detections": len(group), "images": len({row["image"] for row in group})}
    for value in ("insertion", "deletion", "gap", "gap_alike"):
        line[value] = cell(mean(group, value))
    for ours in OURS:
        line[f"{ours} minus this"] = cell(difference(here.get((ours,), []), group, "gap"))
    line["seconds"] = round(float(np.mean([row["seconds"] for row in group])), 3)
    return line


def _bars(word: str, here: dict[tuple[Any, ...], list[Row]]) -> dict[str, Row]:
    """Ours above each rival, at equal passes and at its published cost; and its time."""
    bars: dict[str, Row] = {}
    for ours, short in zip(OURS, ("", "_in_context"), strict=True):
        own = here.get((ours,), [])
        for name in JUDGED if own else ():
            for label, end in ((name, ""), (f"{name} published", "_published")):
                if (label,) in here:
                    gap = difference(own, here[(label,)], "gap")
                    bars[f"{word}{short}_above_{name}{end}"] = _judged(gap, 0.0, ">=") | {
                        "detections": len(here[(label,)])
                    }
    own = here.get((methods.OURS,), [])
    times = {
        name: float(np.mean([row["seconds"] for row in group]))
        for (name,), group in here.items()
        if name.removesuffix(" published") in JUDGED
    }
    if own and times:
        slowest = max(times, key=lambda name: times[name])
        ratio = float(np.mean([row["seconds"] for row in own])) / times[slowest]
        bars[f"{word}_time"] = _judged(Interval(ratio, float("nan"), float("nan")), HALF, "<=") | {
            "slowest": slowest
        }
    return bars


def harms(rows: Rows) -> tuple[Table, dict[str, Row]]:
    """Deletion and pointing on planted failures, misses and look-alikes apart."""
    table = simple(rows, ("kind", "method"), HARMS)
    bars: dict[str, Row] = {}
    for kind, word in (("FN", "missed"), ("FP", "lookalike")):
        here = by([row for row in rows if row["kind"] == kind], "method")
        own = here.get((methods.OURS,), [])
        for value, goal in (("helps", 0.9), ("hit", 0.85)) if own else ():
            bars[f"{word}_{value}"] = _judged(mean(own, value), goal, ">=") | {
                "detections": len(own),
                "ours_minus_rival": {
                    name: cell(difference(own, group, value))
                    for (name,), group in here.items()
                    if name != methods.OURS
                },
            }
    return table, bars


def lookalikes(rows: Rows) -> tuple[Table, dict[str, Row]]:
    """Signs of what supports a look-alike most."""
    table = simple(rows, ("method",), ("sign", "rho"))
    own = [row for row in rows if row["method"] == methods.OURS]
    bars = {"lookalike_sign": _judged(mean(own, "sign"), 0.85, ">=")} if own else {}
    return table, bars


def offsets(rows: Rows) -> tuple[Table, dict[str, Row]]:
    """What pulls a box; judged where the pull is as strong as the strongest superpixel."""
    values = ("first", "hit", "helps", "sign", "whole")
    table = simple(rows, ("method", "strength"), values)
    ours = [row for row in rows if row["method"] == methods.OURS]
    table += simple(ours, ("method", "strength", "what"), values)
    own = [row for row in ours if row["strength"] == 1.0]
    bars: dict[str, Row] = {}
    for value, goal in (("helps", 0.9), ("hit", 0.85), ("sign", 0.85)) if own else ():
        bars[f"box_{value}"] = _judged(mean(own, value), goal, ">=") | {"offsets": len(own)}
    return table, bars


def _judged(found: Interval, goal: float, sense: Sense) -> Row:
    value, low, high = cell(found, 4)
    return entry(value, low, high, bound=goal, sense=sense)
