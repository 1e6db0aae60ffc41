"""What is shown differs as long as there is something different to show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curation.modes.variety import distinct_first

PLACES = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "x", "y"])))


@given(PLACES, st.integers(0, 6))
def test_a_frame_comes_again_only_when_all_others_have_come(
    places: list[tuple[str, str]], count: int
) -> None:
    order = distinct_first(places, count)
    assert sorted(order) == list(range(len(places)))
    shown, rest = order[:count], order[count:]
    assert rest == sorted(rest)
    assert shown[:1] == ([0] if places and count else [])
    for position, row in enumerate(shown):
        before = {places[one] for one in shown[:position]}
        frames = {frame for frame, _ in before} - {""}
        groups = {group for _, group in before} - {""}
        if places[row][0] in frames:  # then no other frame was left
            assert all(places[one][0] in frames for one in order[position:])
        elif places[row][1] in groups:  # nor a new frame of another drive
            left = [places[one] for one in order[position:]]
            assert all(frame in frames or group in groups for frame, group in left)


def test_without_places_the_best_come_first() -> None:
    assert distinct_first([("", "")] * 5, 3) == [0, 1, 2, 3, 4]
    assert distinct_first([], 3) == []
    assert distinct_first([("a", ""), ("a", ""), ("b", "")], 2) == [0, 2, 1]
