"""Bars and table of training: siblings fixed by arm and cause, paired by seed and frame.

What becomes of the holdout is in ``harm``.

A sibling's object counts as fixed where the first detector missed it and the new one finds it.
Points are of those that it missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from benchmarks.common import bars
from benchmarks.synthesis import harm
from benchmarks.synthesis.resampling import Counts, interval

Unit: TypeAlias = Mapping[str, Any]
ALONE, COMPOSED, POOL = "compose", "field_frames_compose", "pool"
FRAMES, SAME, RETRIEVAL = "field_frames", "same_data", "retrieval_lacking"
SELECTION, BOTH = "selection", "selection_compose"
PASTING = {"elsewhere": 8.0, "pasted": 8.0}
"""What is pasted without what hurt, and by how many points what hurt must be above it."""
EXPLAINED = {"random": 5.0, "supporting": 5.0, "unblamed": 5.0, "whole": 5.0}
"""Other parts of the failing frame: what knows no explanation, or its opposite."""
BORROWED = {
    ("training", "e2x", 75): SELECTION,
    ("training", "random", 75): "random_boxes",
    ("field", "field_frames_e2x", 75): "field_frames_selection",
}
"""Arms of the loop's benchmark by part, name and boxes: the same detector, fine-tuned alike."""


def borrowed(loop: Sequence[Unit], own: Sequence[Unit]) -> list[dict[str, Any]]:
    """Units of the loop's benchmark that began with the same first detectors.

    They do not say which objects were fixed, only how many: such arms are paired by seed alone.

    Args:
        loop: its units.
        own: ours; an arm that a seed has is not borrowed for it.
    """
    start = {unit["seed"]: unit["result"]["map50_before"] for unit in own}
    known = {(unit["seed"], unit["arm"]) for unit in own}
    found: list[dict[str, Any]] = []
    for unit in loop:
        arm = BORROWED.get((unit["part"], unit["arm"], unit["budget"]))
        result = unit["result"]
        if arm and result.get("map50_before") == start.get(unit["seed"]):
            if (unit["seed"], arm) in known:
                continue
            more = {"frames": result.get("parents", 0), "drawn": 0, "reproduced": None}
            found.append({"seed": unit["seed"], "arm": arm, "result": result | more})
            known.add((unit["seed"], arm))
    return found


def table(units: Sequence[Unit]) -> list[dict[str, Any]]:
    """A line for each arm, that which fixes most first."""
    seeds = {unit["seed"] for unit in units}
    lines = [_line(own) for own in by_arm(units).values()]
    lines.sort(key=lambda line: (line["seeds"] != len(seeds), -line["fixed"][0]))
    return lines


def _line(own: Sequence[Unit]) -> dict[str, Any]:
    results = [unit["result"] for unit in own]
    by_cause: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    found = [0, 0]
    for result in results:
        for _, cause, before, after in result.get("objects", ()):
            by_cause[cause][0] += after > before
            by_cause[cause][1] += not before
            found[0] += after
            found[1] += 1
    told = [result["reproduced"] for result in results if result["reproduced"] is not None]
    return {
        "arm": own[0]["arm"],
        "seeds": len(own),
        **{key: _mean(results, key) for key in ("frames", "drawn", "boxes", "negative_flips")},
        "reproduced": round(float(np.mean(told)), 3) if told else None,
        "fixed": [round(value, 1) for value in _points(own)],
        "by_cause": {cause: by_cause[cause] for cause in sorted(by_cause)},
        "found": found if found[1] else None,
        "map50": round(100 * float(np.mean([r["map50"] - r["map50_before"] for r in results])), 2),
        "false_detections": _false(results),
    }


def _false(results: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """Of the first detectors and of the new ones, all seeds together; None where not counted."""
    if any("false_detections" not in result for result in results):
        return None
    return [int(sum(result["false_detections"][n] for result in results)) for n in range(2)]


def reached(units: Sequence[Unit]) -> dict[str, Any]:
    """The bars; of arms that not all seeds have, over those that both of a pair have."""
    arms = by_arm(units)
    pairs = _Pairs(arms)
    found: dict[str, Any] = {}
    for name, rival in (("G3_same_data", SAME), ("G3_retrieval", RETRIEVAL)):
        if pairs.has(ALONE, rival):
            first, second = pairs.fixed(ALONE, rival)
            found[name] = bars.entry(first / max(1, second), bound=2.0)
            found[f"{name}_at_all"] = bars.entry(*pairs.apart(ALONE, rival), bound=0.0)
    wanted = [("G3b", COMPOSED, FRAMES, 5.0), ("G5", BOTH, SELECTION, 5.0)]
    wanted += [
        (f"G4_repair_{rival}", COMPOSED, f"{FRAMES}_{rival}", bound)
        for rival, bound in {**PASTING, **EXPLAINED}.items()
    ]
    for name, arm, rival, bound in wanted:
        if pairs.has(arm, rival):
            apart = pairs.apart(arm, rival)
            found[name] = bars.entry(apart[0], bound=bound)
            found[f"{name}_at_all"] = bars.entry(*apart, bound=0.0)
    if pairs.has(POOL, FRAMES):
        found["G3b_pool"] = bars.entry(*pairs.apart(POOL, FRAMES), bound=-5.0)
        found["G3b_pool_value"] = bars.entry(found["G3b_pool"]["value"], bound=-5.0)
    if pairs.has(POOL, SAME):
        found["G3_pool_at_all"] = bars.entry(*pairs.apart(POOL, SAME), bound=0.0)
    return found | harm.reached(arms)


class _Pairs:
    """Arms paired by seed and by frame of the siblings."""

    def __init__(self, arms: Mapping[str, Sequence[Unit]]) -> None:
        self._arms = {name: {u["seed"]: u for u in own} for name, own in arms.items()}

    def has(self, first: str, second: str) -> bool:
        """Whether a seed has both."""
        return bool(self._seeds(first, second))

    def fixed(self, first: str, second: str) -> tuple[int, int]:
        """Siblings fixed by each, over the seeds that both have."""
        seeds = self._seeds(first, second)
        of_first, of_second = (
            sum(self._arms[arm][seed]["result"]["siblings_fixed"] for seed in seeds)
            for arm in (first, second)
        )
        return of_first, of_second

    def apart(self, first: str, second: str) -> tuple[float, float, float]:
        """Points of siblings by which the first fixes more, with a 95 % interval."""
        pairs = [
            [self._arms[arm][seed] for arm in (first, second)]
            for seed in self._seeds(first, second)
        ]
        told = all("objects" in unit["result"] for pair in pairs for unit in pair)
        counted = _by_frame if told else _in_all
        return interval([_together(np.stack([counted(unit) for unit in pair])) for pair in pairs])

    def _seeds(self, first: str, second: str) -> list[int]:
        return sorted(self._arms.get(first, {}).keys() & self._arms.get(second, {}).keys())


def _by_frame(unit: Unit) -> Counts:
    """[F, 2] for each frame with a hidden cause: objects fixed, objects missed before."""
    frames: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for frame, _, before, after in unit["result"]["objects"]:
        frames[frame][0] += after > before
        frames[frame][1] += not before
    return np.array([frames[frame] for frame in sorted(frames)], np.float64)


def _in_all(unit: Unit) -> Counts:
    """[1, 2] of all frames together."""
    result = unit["result"]
    return np.array([[result["siblings_fixed"], result["siblings_failed"]]], np.float64)


def _together(pair: Counts) -> Counts:
    """[F, 2]: by how many the first arm fixes more, and how many were missed."""
    return np.stack([pair[0, :, 0] - pair[1, :, 0], pair[0, :, 1]], axis=1)


def _points(own: Sequence[Unit]) -> tuple[float, float, float]:
    told = all("objects" in unit["result"] for unit in own)
    return interval([_by_frame(unit) if told else _in_all(unit) for unit in own])


def by_arm(units: Sequence[Unit]) -> dict[str, list[Unit]]:
    """In the order of their seeds."""
    found: dict[str, list[Unit]] = defaultdict(list)
    for unit in sorted(units, key=lambda one: int(one["seed"])):
        found[unit["arm"]].append(unit)
    return dict(found)


def _mean(results: Sequence[Mapping[str, Any]], key: str) -> float:
    return round(float(np.mean([result[key] for result in results])), 4)


def rows(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The table as Markdown."""
    causes = sorted({cause for line in lines for cause in line["by_cause"]})
    yield f"| arm | seeds | fixed, points | {' | '.join(causes)} | drawn | AP50 | flips | false |"
    yield "|---" * (7 + len(causes)) + "|"
    for line in lines:
        value, low, high = line["fixed"]
        cells = ["{}/{}".format(*line["by_cause"].get(cause, (0, 0))) for cause in causes]
        yield (
            f"| {line['arm']} | {line['seeds']} | {value:.1f} [{low:.1f}, {high:.1f}] "
            f"| {' | '.join(cells)} | {line['drawn']:.0f} | {line['map50']:+.2f} "
            f"| {line['negative_flips']:.4f} | {(line['false_detections'] or ['', ''])[1]} |"
        )


def show(lines: Sequence[Mapping[str, Any]], print_: Callable[[str], None] = print) -> None:
    """The same, printed."""
    for row in rows(lines):
        print_(row)
