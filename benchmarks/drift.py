"""Drift: how often still data alarms in 100 days, and how soon a change that is planted is seen.

    python -m benchmarks.drift

Days are drawn, a hundred for each of many references that stay the same meanwhile, as the product
keeps them; nothing changes but chance. Each day is judged once by the product's own function with
its own level. Frames of a drive are alike: place, traffic, mixture of classes and distance belong
to the drive. Then a change is planted from one day on, in every frame or in a share of them, and
the days are counted until the first alarm, a fortnight at most. Writes
``benchmarks/results/drift.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.common import bars
from benchmarks.common.machine import machine, versions
from curation.drift.compare import DEALS, LEVEL, compare
from curation.drift.sums import Frame
from curation.kernel.files import write_json

OUT = Path(__file__).parent / "results" / "drift.json"
WIDTH = 16
DAYS, FORTNIGHT, WEEK = 100, 14, 7
MOST_FALSE, LEAST_SEEN = 1.0, 0.8
_RESAMPLES = 4
"""Of the intervals of distances, which no alarm depends on."""
Change = Callable[[Frame, np.random.Generator], Frame]


@dataclass(frozen=True, slots=True)
class World:
    """How many drives there are; ``frames`` of each, from and below.

    Attributes:
        reference: drives of the reference.
        day: drives a day.
        frames: of a drive, from and below.
    """

    reference: int
    day: int
    frames: tuple[int, int]


WORLDS = {
    "few drives": World(40, 4, (4, 9)),
    "many drives": World(50, 10, (4, 9)),
}


def drives(
    count: int, rng: np.random.Generator, first: int = 0, frames: tuple[int, int] = (4, 9)
) -> list[Frame]:
    """Frames of so many drives; those of one are alike, as neighbours in a film are.

    Args:
        count: of drives.
        rng: of all that is drawn.
        first: number of the first of them.
        frames: of a drive, from and below.
    """
    made = []
    for drive in range(first, first + count):
        place = rng.normal(0, 1, WIDTH)
        busy, cars, near = rng.gamma(2.0, 1.0), rng.beta(4, 2), rng.normal(-2.5, 0.5)
        for _ in range(int(rng.integers(*frames))):
            shown = int(rng.poisson(busy))
            labels = tuple("car" if rng.random() < cars else "person" for _ in range(shown))
            sides = np.exp2(np.clip(rng.normal(near, 0.7, shown), -9, 0)).astype(np.float32)
            vector = (place + rng.normal(0, 0.4, WIDTH)).astype(np.float32)
            made.append(Frame(f"drive {drive}", vector, labels, sides))
    return made


def _still(frame: Frame, rng: np.random.Generator) -> Frame:
    return frame


def _look(shift: float, frame: Frame, rng: np.random.Generator) -> Frame:
    return replace(frame, vector=(frame.vector + np.float32(shift)).astype(np.float32))


def _classes(share: float, frame: Frame, rng: np.random.Generator) -> Frame:
    return replace(
        frame, labels=tuple("truck" if rng.random() < share else one for one in frame.labels)
    )


def _sizes(times: float, frame: Frame, rng: np.random.Generator) -> Frame:
    return replace(frame, sides=(frame.sides / np.float32(times)).astype(np.float32))


def _empty(share: float, frame: Frame, rng: np.random.Generator) -> Frame:
    if rng.random() >= share:
        return frame
    return replace(frame, labels=(), sides=np.zeros(0, np.float32))


PLANTED: dict[str, tuple[str, Change, bool]] = {
    "look_weak": (
        "every image looks other by 0.3 of what drives differ by",
        partial(_look, 0.3),
        False,
    ),
    "look_medium": ("… by 0.6", partial(_look, 0.6), False),
    "look_strong": ("… by 1.2", partial(_look, 1.2), True),
    "classes_weak": ("a tenth of the objects is of a new class", partial(_classes, 0.1), False),
    "classes_strong": ("half of the objects is", partial(_classes, 0.5), True),
    "sizes_weak": ("objects are a third smaller", partial(_sizes, 1.5), False),
    "sizes_strong": ("objects have a quarter of their size", partial(_sizes, 4.0), True),
    "empty_weak": ("nothing is seen in a fifth of the frames", partial(_empty, 0.2), False),
    "empty_strong": ("nothing is seen in nine of ten", partial(_empty, 0.9), True),
}
"""What changes, in words; how; whether it is one that has to be seen within a week."""


def run(
    world: World, seed: int, change: Change, days: int, stop: bool, level: float = LEVEL
) -> list[int]:
    """Days that alarmed, from 1, of one reference.

    Args:
        world: how much there is.
        seed: of the whole run.
        change: of each frame of each day.
        days: at most.
        stop: at the first alarm.
        level: of a day.
    """
    rng = np.random.default_rng(seed)
    reference = drives(world.reference, rng, frames=world.frames)
    alarms, first = [], world.reference
    for day in range(1, days + 1):
        frames = [change(one, rng) for one in drives(world.day, rng, first, world.frames)]
        first += world.day
        if compare(frames, reference, rng, level=level, resamples=_RESAMPLES).drifted:
            alarms.append(day)
            if stop:
                break
    return alarms


def false_alarms(counts: Sequence[int]) -> tuple[float, float, float]:
    """Mean of the false alarms of 100 days, with its 95 % interval.

    Days of one reference are not independent, so references are resampled; where there are few
    alarms the exact interval of a Poisson count is wider, and the wider of both ends is told.
    """
    values = np.array(counts, np.float64)
    rng = np.random.default_rng(0)
    drawn = rng.choice(values, (4000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    total, runs = values.sum(), len(values)
    exact_low = stats.chi2.ppf(0.025, 2 * total) / 2 / runs if total else 0.0
    exact_high = stats.chi2.ppf(0.975, 2 * total + 2) / 2 / runs
    return float(values.mean()), float(min(low, exact_low)), float(max(high, exact_high))


def share(seen: int, of: int) -> tuple[float, float, float]:
    """A share with its exact 95 % interval (Clopper and Pearson, 1934)."""
    found = stats.binomtest(seen, of).proportion_ci(0.95, "exact")
    return seen / of, float(found.low), float(found.high)


def measure(runs: int, planted: int, processes: int, level: float) -> dict[str, Any]:
    """All figures.

    Args:
        runs: of 100 still days each, a world.
        planted: runs of each strong change, a world; half as many of the others.
        processes: that compute.
        level: of a day.
    """
    still: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    with ProcessPoolExecutor(processes) as pool:
        for name, world in WORLDS.items():
            one = partial(run, world, change=_still, days=DAYS, stop=False, level=level)
            counts = [len(found) for found in pool.map(one, range(runs))]
            value, low, high = false_alarms(counts)
            still[name] = {"runs": runs, "alarms": counts, "per_100_days": [value, low, high]}
            print(f"{name}: {value:.2f} [{low:.2f}, {high:.2f}] false alarms in 100 days")
            seen[name] = {}
            for change, (words, make, must) in PLANTED.items():
                times = planted if must else planted // 2
                first = partial(run, world, change=make, days=FORTNIGHT, stop=True, level=level)
                days = [
                    found[0] if found else None
                    for found in pool.map(first, range(10_000, 10_000 + times))
                ]
                seen[name][change] = {
                    "words": words,
                    "first_alarm_day": days,
                    "median_days": float(np.median([day or FORTNIGHT + 1 for day in days])),
                    "seen_first_day": share(sum(day == 1 for day in days), len(days)),
                    "seen_in_a_week": share(sum((day or 99) <= WEEK for day in days), len(days)),
                    "seen_in_a_fortnight": share(sum(map(bool, days)), len(days)),
                }
                print(f"  {words}: {seen[name][change]['median_days']:.0f} days")
    return {"still": still, "planted": seen}


def judged(figures: dict[str, Any]) -> dict[str, Any]:
    """The bars: false alarms in each world, and the worst strong change's share in each."""
    found = {}
    for name in WORLDS:
        key = name.replace(" ", "_")
        value, low, high = figures["still"][name]["per_100_days"]
        found[f"false_{key}"] = bars.entry(value, low, high, bound=MOST_FALSE, sense="<=")
        strong = [
            figures["planted"][name][change]["seen_in_a_week"]
            for change, (_, _, must) in PLANTED.items()
            if must
        ]
        found[f"seen_{key}"] = bars.entry(*min(strong), bound=LEAST_SEEN)
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of 100 still days, a world")
    parser.add_argument("--planted", type=int, default=18, help="of each strong change, a world")
    parser.add_argument("--level", type=float, default=LEVEL, help="of a day")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args(arguments)
    started_s = time.monotonic()
    figures = measure(asked.runs, asked.planted, asked.processes, asked.level)
    document = {
        "command": "python -m benchmarks.drift "
        f"--runs {asked.runs} --planted {asked.planted} --processes {asked.processes}",
        "level": asked.level,
        "deals": DEALS,
        "seconds": round(time.monotonic() - started_s, 1),
        **figures,
        "bars": judged(figures),
        "machine": machine(),
        "versions": versions(),
    }
    for name, bar in document["bars"].items():
        print(f"{name}: {bar['value']:.3g} [{bar['low']:.3g}, {bar['high']:.3g}] met: {bar['met']}")
    write_json(asked.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
