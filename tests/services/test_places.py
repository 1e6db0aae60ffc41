"""Failures by their places: whole frames at once give what one comparison after the other gives."""

from __future__ import annotations

import cProfile
import random
from typing import Any

from services.db.tables import FailureRow, FailureState
from services.failures.findings import overlap_of
from services.failures.places import SAME_IOU, SAME_OBJECT_IOU, Places, Spots, is_false


def _is_same(first: FailureRow, second: FailureRow) -> bool:
    """By plain arithmetic, a pair at a time."""
    if first.label != second.label or is_false(first) is not is_false(second):
        return False
    if (first.truth_index is None) is not (second.truth_index is None):
        return False
    overlap = overlap_of(first.box, second.box)
    return overlap >= (SAME_IOU if first.truth_index == second.truth_index else SAME_OBJECT_IOU)


def _row(rng: random.Random, number: int, spread: float) -> FailureRow:
    x, y = rng.uniform(0, spread), rng.uniform(0, spread)
    false = rng.random() < 0.3
    return FailureRow(
        id=f"{number:064x}",
        kind="false_positive" if false else "false_negative",
        label=rng.choice(("car", "bus")),
        box=[round(v, 2) for v in (x, y, x + rng.choice((10, 20)), y + 10)],
        truth_index=None if false or rng.random() < 0.3 else rng.randrange(6),
        state=rng.choice((FailureState.FOUND, FailureState.DISMISSED)),
    )


def test_places_answer_as_pairs_would() -> None:
    rng = random.Random(0)
    seen = 0
    for spread in (0.05, 3.0, 12.0, 60.0):
        earlier = [_row(rng, n, spread) for n in range(80)]
        places = Places(earlier)
        for row in (_row(rng, 1000 + n, spread) for n in range(80)):
            same = [other for other in earlier if _is_same(row, other)]
            seen += bool(same)
            assert places.first(row) is (same[0] if same else None)
            assert places.has(row) is bool(same)
            assert places.is_dismissed(row) is any(
                other.state == FailureState.DISMISSED
                and (is_false(row) or overlap_of(row.box, other.box) >= SAME_OBJECT_IOU)
                for other in same
            )
    assert 50 < seen < 300


def test_spots_answer_as_pairs_would() -> None:
    rng = random.Random(1)
    entries: list[dict[str, Any]] = [
        {"label": row.label, "box": row.box} for row in (_row(rng, n, 40.0) for n in range(60))
    ]
    spots = Spots(entries)
    answers = set()
    for row in (_row(rng, n, 40.0) for n in range(200)):
        there = any(
            one["label"] == row.label and overlap_of(one["box"], row.box) >= SAME_IOU
            for one in entries
        )
        answers.add(there)
        assert spots.has(row) is there
    assert answers == {True, False}
    assert not Spots([]).has(_row(rng, 1, 1.0))


def test_a_frame_full_of_objects_costs_no_call_a_pair() -> None:
    """Counted, and not timed: 500 failures against 500, all at one place, are 250,000 pairs."""
    rng = random.Random(2)
    rows = [_row(rng, n, 0.01) for n in range(500)]
    profile = cProfile.Profile()
    profile.enable()
    places = Places(rows)
    for row in rows:
        places.first(row)
        places.is_dismissed(row)
    profile.disable()
    calls = sum(entry.callcount for entry in profile.getstats())
    assert calls < 100 * len(rows)
