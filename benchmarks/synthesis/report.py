"""Bars and tables of reproduction: shares of known objects, with intervals by failing frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from benchmarks.common import bars
from benchmarks.synthesis.reproduction import FOREIGN, HARMLESS, OWN

Row: TypeAlias = Mapping[str, Any]
THRESHOLD, LOST = 0.5, 0.3
REPEATS = 4000
DIFFERENCE, LEAST = 0.25, 0.1
"""Of reproduction minus control: the value, and the lower end of its interval."""
LEAD = 0.1
RIVALS = (
    "random",
    "positive",
    "regions",
    "whole_1.5",
    "whole_2",
    "whole_1.5_light",
    "whole_2_light",
)


def reproduced(row: Row, source: str) -> bool:
    """Whether the known object is missed now, or lost as much of its score."""
    before, after = float(row["before"]), float(row[source])
    return after < THRESHOLD or before - after >= LOST


def found_before(rows: Sequence[Row]) -> list[Row]:
    """Without known objects that the detector, asked again, does not find."""
    return [row for row in rows if row["before"] >= THRESHOLD]


def interval(
    values: Mapping[tuple[str, ...], float],
) -> tuple[float | None, float | None, float | None]:
    """Mean over pairs of a miss and a known object, and a 95 % interval over failing frames.

    Args:
        values: by seed and frame first, then whatever tells pairs apart.
    """
    if not values:
        return None, None, None
    frames: dict[tuple[str, ...], list[float]] = {}
    for key, value in values.items():
        frames.setdefault(key[:1], []).append(value)
    sums = np.array([(sum(own), len(own)) for own in frames.values()], np.float64)
    rows = np.random.default_rng(0).integers(0, len(sums), (REPEATS, len(sums)))
    drawn = sums[rows].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high)


def shares(
    rows: Sequence[Row], recipe: str, source: str, cause: str | None = None
) -> dict[tuple[str, ...], float]:
    """Of one recipe, by frame, miss and known object, whether it reproduced."""
    return {
        (row["miss"].split("#")[0], row["miss"], row["known"]): float(reproduced(row, source))
        for row in rows
        if row["recipe"] == recipe and source in row and cause in (None, row["cause"])
    }


def less(
    first: Mapping[tuple[str, ...], float], second: Mapping[tuple[str, ...], float]
) -> dict[tuple[str, ...], float]:
    """Paired differences where both are known."""
    return {key: value - second[key] for key, value in first.items() if key in second}


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A line for each recipe, in the order of the rows; by cause too."""
    rows = found_before(rows)
    causes = sorted({row["cause"] for row in rows})
    lines = []
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        own = [row for row in rows if row["recipe"] == recipe]
        line: dict[str, Any] = {
            "recipe": recipe,
            "pairs": len(own),
            "share_of_frame": round(float(np.mean([row["share"] for row in own])), 4),
        }
        for cause in (None, *causes):
            line[cause or "all"] = _cells(rows, recipe, cause)
        lines.append(line)
    return lines


def _cells(rows: Sequence[Row], recipe: str, cause: str | None) -> dict[str, Any]:
    own = shares(rows, recipe, OWN, cause)
    cells: dict[str, Any] = {OWN: interval(own)}
    for source in (FOREIGN, HARMLESS):
        control = shares(rows, recipe, source, cause)
        if control:
            cells[source] = interval(control)
            cells[f"minus_{source}"] = interval(less(own, control))
    return cells


def reached(rows: Sequence[Row], recipe: str) -> dict[str, Any]:
    """The bars of one recipe: a value that is wanted, and a bound that its interval must keep."""
    rows = found_before(rows)
    own = shares(rows, recipe, OWN)
    found: dict[str, Any] = {}
    for cause in (None, *sorted({row["cause"] for row in rows})):
        name = f"G2_{cause}" if cause else "G2"
        mine = own if cause is None else shares(rows, recipe, OWN, cause)
        apart = interval(less(mine, shares(rows, recipe, FOREIGN, cause)))
        found[name] = bars.entry(apart[0], bound=DIFFERENCE)
        found[f"{name}_certain"] = bars.entry(*apart, bound=LEAST)
    for rival in RIVALS:
        apart = interval(less(own, shares(rows, rival, OWN)))
        found[f"G4_above_{rival}"] = bars.entry(apart[0], bound=LEAD)
        found[f"G4_above_{rival}_at_all"] = bars.entry(*apart, bound=0.0)
    return found


def show(lines: Sequence[Mapping[str, Any]], print_: Callable[[str], None] = print) -> None:
    """The table as Markdown: put, minus another frame's pixels, minus harmless surroundings."""
    causes = [key for key in lines[0] if key not in ("recipe", "pairs", "share_of_frame")]
    print_(f"| recipe | share | {' | '.join(causes)} |")
    print_("|---" * (2 + len(causes)) + "|")
    for line in lines:
        cells = [_told(line[cause]) for cause in causes]
        print_(f"| {line['recipe']} | {line['share_of_frame']:.3f} | {' | '.join(cells)} |")


def _told(cells: Mapping[str, Any]) -> str:
    value, low, high = cells[OWN]
    if value is None:
        return "-"
    told = f"{value:.2f} [{low:.2f}, {high:.2f}]"
    for source, short in ((FOREIGN, "other"), (HARMLESS, "harmless")):
        if source in cells:
            control = cells[source][0]
            apart = cells[f"minus_{source}"]
            told += f"; {short} {control:.2f}, {apart[0]:+.2f} [{apart[1]:+.2f}, {apart[2]:+.2f}]"
    return told
