"""The states of a failure mode, and what each step between them needs.

============= ============= ==========================================================
from          to            needs
============= ============= ==========================================================
fixed         re-opened     new failures joined, or the champion fails too many again
open          fixed         a new champion fails few of its places, and nothing joined
being fixed   fixed         the same
re-opened     fixed         the same
open          being fixed   pool images were asked for, or labelled, on its account
re-opened     being fixed   the same
being fixed   open          every image that was asked for came back without a label
============= ============= ==========================================================

``TRANSITIONS`` is this table; the first line that applies is taken. A refused challenger proves
nothing: its mode stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

_EPSILON = 1e-9  # bounds are shares of counts: 0.2 must admit 1 of 5


class ModeState(StrEnum):
    """Where a failure mode stands."""

    OPEN = "open"
    """Failures are seen, nothing is labelled for it."""
    BEING_FIXED = "being_fixed"
    """Images are queued or labelled for it, and nothing has proven yet that they help."""
    FIXED = "fixed"
    """The champion no longer makes its failures."""
    REOPENED = "re_opened"
    """It was fixed, and fails again."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a mode when its state is judged.

    Attributes:
        places: where its failures lie, of all cycles, in frames that may judge; 0 where all teach.
        failing: of these, where the champion fails.
        joined: of these, which joined since it was judged last.
        asked: pool images asked for on its account since it was opened or re-opened; those that
            came back without a label do not count.
        new_champion: whether the champion is another than the one whose failures were seen last.
    """

    places: int
    failing: int
    joined: int = 0
    asked: int = 0
    new_champion: bool = False

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        if not 0 <= self.failing <= self.places or not 0 <= self.joined <= self.places:
            raise ValueError(f"{self.failing} failing, {self.joined} joined of {self.places}")


@dataclass(frozen=True, slots=True)
class StateRules:
    """Bounds of the steps.

    Attributes:
        max_failing: share of its places, 0..1, that the champion of a fixed mode may fail.
        reopen_at: new failures that open a fixed mode again.
    """

    max_failing: float = 0.2
    reopen_at: int = 1


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of the table.

    Attributes:
        sources: states that it leads from.
        target: the state that it leads to.
        needs: whether what is known suffices.
    """

    sources: tuple[ModeState, ...]
    target: ModeState
    needs: Callable[[Progress, StateRules], bool]


def _fails_again(known: Progress, rules: StateRules) -> bool:
    return known.joined >= rules.reopen_at or not _fails_few(known, rules)


def _is_proven(known: Progress, rules: StateRules) -> bool:
    judged = known.places > 0  # where nobody judges, nothing is proven
    return judged and known.new_champion and not known.joined and _fails_few(known, rules)


def _is_worked_on(known: Progress, _rules: StateRules) -> bool:
    return known.asked > 0


def _is_given_up(known: Progress, _rules: StateRules) -> bool:
    return known.asked == 0


def _fails_few(known: Progress, rules: StateRules) -> bool:
    return known.failing <= rules.max_failing * known.places + _EPSILON


_UNPROVEN = (ModeState.OPEN, ModeState.BEING_FIXED, ModeState.REOPENED)
TRANSITIONS = (
    Transition((ModeState.FIXED,), ModeState.REOPENED, _fails_again),
    Transition(_UNPROVEN, ModeState.FIXED, _is_proven),
    Transition((ModeState.OPEN, ModeState.REOPENED), ModeState.BEING_FIXED, _is_worked_on),
    Transition((ModeState.BEING_FIXED,), ModeState.OPEN, _is_given_up),
)


def next_state(state: ModeState, known: Progress, rules: StateRules = StateRules()) -> ModeState:
    """The state after one step of the table, or the same state where no line applies.

    Args:
        state: of now.
        known: what has happened.
        rules: the bounds.
    """
    for step in TRANSITIONS:
        if state in step.sources and step.needs(known, rules):
            return step.target
    return state
