"""The table of a mode's states: every line, and nothing beside it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.modes.states import ModeState, Progress, StateRules, next_state

OPEN, BEING_FIXED, FIXED, REOPENED = ModeState
states = st.sampled_from(ModeState)


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    places = draw(st.integers(0, 8))
    return Progress(
        places=places,
        failing=draw(st.integers(0, places)),
        joined=draw(st.integers(0, places)),
        asked=draw(st.integers(0, 2)),
        new_champion=draw(st.booleans()),
    )


@pytest.mark.parametrize(
    ("state", "known", "expected"),
    [
        (OPEN, Progress(8, 8), OPEN),
        (OPEN, Progress(8, 8, asked=3), BEING_FIXED),
        (BEING_FIXED, Progress(8, 8, asked=3), BEING_FIXED),  # the challenger was refused
        (BEING_FIXED, Progress(8, 4, asked=3, new_champion=True), BEING_FIXED),
        (BEING_FIXED, Progress(5, 1, asked=3, new_champion=True), FIXED),
        (BEING_FIXED, Progress(8, 1, joined=1, asked=3, new_champion=True), BEING_FIXED),
        (BEING_FIXED, Progress(8, 8), OPEN),  # all of its tasks were skipped
        (OPEN, Progress(8, 0, new_champion=True), FIXED),  # labels for others helped it
        (FIXED, Progress(8, 1), FIXED),
        (FIXED, Progress(9, 1, joined=1), REOPENED),
        (FIXED, Progress(8, 2), REOPENED),  # rolled back, or broken again
        (REOPENED, Progress(9, 2), REOPENED),
        (REOPENED, Progress(9, 2, asked=1), BEING_FIXED),
        (REOPENED, Progress(9, 0, new_champion=True), FIXED),
    ],
)
def test_every_line(state: ModeState, known: Progress, expected: ModeState) -> None:
    assert next_state(state, known) is expected


@given(states, progresses())
@settings(deadline=None, derandomize=True)
def test_judging_twice_without_news_changes_nothing_more(state: ModeState, known: Progress) -> None:
    """What joined and who is champion are news once; then a mode is at rest."""
    later = Progress(known.places, known.failing, asked=known.asked)
    once = next_state(next_state(state, known), later)
    assert next_state(once, later) is once


@given(states, progresses(), st.floats(0, 1), st.integers(1, 4))
@settings(deadline=None, derandomize=True)
def test_fixed_is_never_said_of_what_fails(
    state: ModeState, known: Progress, max_failing: float, reopen_at: int
) -> None:
    rules = StateRules(max_failing, reopen_at)
    after = next_state(state, known, rules)
    if after is FIXED:
        assert known.failing <= max_failing * known.places + 1e-9
        assert known.joined < reopen_at
    if after is REOPENED:
        assert state in (FIXED, REOPENED)
    if after is BEING_FIXED:
        assert known.asked


@given(progresses())
@settings(deadline=None, derandomize=True)
def test_a_refused_challenger_fixes_nothing(known: Progress) -> None:
    same = Progress(known.places, known.failing, known.joined, known.asked, new_champion=False)
    for state in (OPEN, BEING_FIXED, REOPENED):
        assert next_state(state, same) is not FIXED


def test_more_joined_re_open_only_from_the_bound() -> None:
    rules = StateRules(max_failing=0.5, reopen_at=3)
    assert next_state(FIXED, Progress(20, 3, joined=2), rules) is FIXED
    assert next_state(FIXED, Progress(20, 3, joined=3), rules) is REOPENED


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="3 failing"):
        Progress(2, 3)
