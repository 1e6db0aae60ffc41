"""Drift: seen where it is planted, and on still data not more often than promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.drift import WIDTH, drives
from curation.drift.compare import FIGURES, LEVEL, Drift, compare
from curation.drift.sums import SIZE_BINS, Frame, size_bins, sums_of

DRIVES, DAY = 40, 4
Change = Callable[[Frame], Frame]


def judged(seed: int, change: Change = lambda frame: frame, grouped: bool = True) -> Drift:
    """A day of drives against the reference of that seed."""
    rng = np.random.default_rng(seed)
    reference, day = drives(DRIVES, rng), [change(one) for one in drives(DAY, rng, DRIVES)]
    if not grouped:
        reference, day = ([replace(one, group="") for one in side] for side in (reference, day))
    return compare(day, reference, rng, deals=1999, resamples=50)


def test_still_days_alarm_no_more_often_than_promised() -> None:
    """Computed: at a level of 1 in 400, 5 or more of 150 have a chance of 1 in 20 000."""
    alarms = sum(judged(seed).drifted for seed in range(150))

    assert alarms <= 4
    assert LEVEL <= 0.0025


def test_without_groups_neighbours_in_a_film_would_alarm() -> None:
    alarms = sum(judged(seed, grouped=False).drifted for seed in range(20))

    assert alarms >= 5


def test_p_values_of_still_days_are_even() -> None:
    values = np.array([[one.p_value for one in judged(seed).figures] for seed in range(100)])

    assert np.abs(values.mean(0) - 0.5).max() < 0.13  # 4.5 standard errors of an even one


def fog(frame: Frame) -> Frame:
    moved = frame.vector + np.float32(1.2)
    return replace(frame, vector=moved.astype(np.float32))


def trucks(frame: Frame) -> Frame:
    return replace(frame, labels=tuple("truck" for _ in frame.labels))


def farther(frame: Frame) -> Frame:
    return replace(frame, sides=frame.sides / 10)


def blind(frame: Frame) -> Frame:
    return replace(frame, labels=(), sides=np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("change", "figure"),
    [(fog, "embedding"), (trucks, "classes"), (farther, "sizes"), (blind, "empty")],
)
def test_a_planted_drift_is_seen_by_its_figure(change: Change, figure: str) -> None:
    seen = [judged(seed, change) for seed in range(20)]

    named = [next(one for one in day.figures if one.name == figure) for day in seen]
    assert sum(one.drifted for one in named) >= 19
    assert all(one.low <= one.distance * 1.2 and one.distance * 0.8 <= one.high for one in named)


def test_what_did_not_change_is_not_blamed() -> None:
    for seed in range(10):
        found = {one.name: one.drifted for one in judged(seed, fog).figures}
        assert [name for name, drifted in found.items() if drifted] in ([], ["embedding"])


def test_the_distances_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, WIDTH)).astype(np.float32)
    half, whole = np.float32([0.5]), np.float32([1.0])
    day = [Frame("a", vectors[0], ("car",), half), Frame("b", vectors[1], (), whole[:0])]
    reference = [
        Frame("c", vectors[2], ("car", "person"), np.float32([0.5, 1.0])),
        Frame("d", vectors[3], ("person",), whole),
    ]

    found = {one.name: one.distance for one in compare(day, reference, rng, deals=9).figures}

    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    squared = np.array([[((a - b) ** 2).sum() for a in unit] for b in unit])
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(4, 1)]))
    mmd = kernel[:2, :2].mean() + kernel[2:, 2:].mean() - 2 * kernel[:2, 2:].mean()
    assert found["embedding"] == pytest.approx(np.sqrt(mmd))
    assert found["classes"] == pytest.approx(2 / 3)  # all cars against one in three
    assert found["sizes"] == pytest.approx(2 / 3)
    assert found["empty"] == pytest.approx(0.5)


def test_the_same_frames_are_no_drift() -> None:
    rng = np.random.default_rng(1)
    frames = drives(10, rng)

    found = compare(frames, [replace(one, group=f"{one.group} too") for one in frames], rng)

    assert not found.drifted
    assert all(one.distance == pytest.approx(0, abs=1e-6) for one in found.figures)
    assert found.empty_share == pytest.approx(found.reference_empty_share)


def test_too_few_groups_are_said_and_never_alarm() -> None:
    rng = np.random.default_rng(2)

    found = compare([fog(one) for one in drives(1, rng, 99)], drives(5, rng), rng)

    assert not found.can_tell
    assert not found.drifted
    assert judged(3).can_tell


def test_a_long_drive_weighs_as_much_as_a_short_one() -> None:
    rng = np.random.default_rng(3)
    day = drives(3, rng)
    long = [*day, *(day[0] for _ in range(500))]

    assert compare(long, drives(20, rng, 10), rng, deals=9, frames_per_group=10).frames <= 30


def test_nothing_shown_anywhere_is_no_error() -> None:
    rng = np.random.default_rng(4)
    day, reference = ([blind(one) for one in drives(8, rng, first)] for first in (0, 10))

    found = {one.name: one.distance for one in compare(day, reference, rng, deals=99).figures}

    assert found["classes"] == found["sizes"] == found["empty"] == 0.0


@pytest.mark.parametrize("sides", [(0, 1), (1, 0)])
def test_a_side_without_frames_is_refused(sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    day, reference = (drives(count, rng) for count in sides)

    with pytest.raises(ValueError, match="a frame each"):
        compare(day, reference, rng)


def test_sizes_fall_into_all_bins() -> None:
    assert size_bins(np.float32([0.0, 2.0**-10, 1.0])).tolist() == [0, 0, SIZE_BINS - 1]
    assert (np.diff(size_bins(np.exp2(np.linspace(-10, 0, 500)).astype(np.float32))) >= 0).all()


def test_sums_are_those_of_the_frames() -> None:
    frames = drives(3, np.random.default_rng(6))
    groups = [[one for one in frames if one.group == f"drive {n}"] for n in range(3)]

    sums = sums_of(groups)

    assert sums.frames.tolist() == [len(group) for group in groups]
    assert sums.classes.sum() == sums.sizes.sum() == sum(len(one.labels) for one in frames)
    assert sums.kernel.shape == (3, 3)
    assert np.allclose(sums.kernel, sums.kernel.T)
    assert len(FIGURES) == 4
