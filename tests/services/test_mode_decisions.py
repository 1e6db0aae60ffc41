"""Modes that a person merges, splits and renames: it holds for what comes later, until undone."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.context import Context
from services.cycle import cycles
from services.db import actors
from services.db.actors import Actor, Door
from services.db.tables import (
    Audit,
    Cycle,
    Decision,
    DecisionKind,
    FailureRow,
    FailureState,
    ModeMember,
    ModeRow,
    ModeSighting,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.modes import counts, decision_rows, decisions
from tests.services.builders import add_champion
from tests.services.commands import CommandLine
from tests.services.mode_loop import ModeLoop
from tests.services.test_modes import DARK, NIGHT, RAIN, RAINY

CORA = Actor("cora", Door.CLI)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModeLoop]:
    """A cycle has seen five cars missed in rain and three at night; not to be changed."""
    line = CommandLine(tmp_path_factory.mktemp("decided") / "project")
    line.done("init", line.root)
    with line.opened() as context:
        loop = ModeLoop(context)
        loop.scan(range(1, 9), {n: RAIN if n <= 5 else NIGHT for n in range(1, 9)})
        loop.select()
        yield loop


@pytest.fixture
def line(original: ModeLoop, tmp_path: Path) -> CommandLine:
    """The command line of a copy."""
    made = CommandLine(tmp_path / "project")
    shutil.copytree(original.context.project.root, made.root)
    return made


@pytest.fixture
def loop(original: ModeLoop, line: CommandLine) -> Iterator[ModeLoop]:
    """A copy."""
    made = copy.copy(original)
    with line.opened() as context:
        made.reopen(context)
        yield made


def again(loop: ModeLoop) -> dict[str, list[int]]:
    """One more cycle: numbers of the frames by name of the mode."""
    with loop.context.sessions.begin() as session:
        running = cycles.running(session)
        if running is not None:
            cycles.cancel(session, loop.context, running, "test")
    return seen(loop, loop.select())


def seen(loop: ModeLoop, cycle: int) -> dict[str, list[int]]:
    query = (
        select(ModeRow.name, FailureRow.place)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .where(ModeSighting.cycle_id == cycle)
    )
    found: dict[str, list[int]] = {}
    with loop.context.sessions() as session:
        for name, place in session.execute(query):
            found.setdefault(name, []).append(int(place, 16) - 100)
    return {name: sorted(frames) for name, frames in found.items()}


def number(loop: ModeLoop, name: str) -> int:
    with loop.context.sessions() as session:
        return session.scalars(select(ModeRow.id).where(ModeRow.name == name)).one()


def decide(loop: ModeLoop, kind: DecisionKind, mode: str, **values: object) -> int:
    own = number(loop, mode)
    with actors.acting(CORA), loop.context.sessions.begin() as session:
        return decisions.make(session, kind, mode_id=own, note="seen so", **values).id  # type: ignore[arg-type]


def undo(loop: ModeLoop, decision: int) -> None:
    with actors.acting(CORA), loop.context.sessions.begin() as session:
        decisions.undo(session, decision)


def test_a_merge_holds_for_failures_that_come_later_and_ends_when_it_is_undone(
    loop: ModeLoop,
) -> None:
    decision = decide(loop, DecisionKind.MERGE, RAINY, modes=[number(loop, DARK)])
    loop.scan([9, 10], {9: NIGHT, 10: RAIN})
    assert again(loop) == {RAINY: list(range(1, 11))}
    rainy = number(loop, RAINY)
    with loop.context.sessions() as session:
        assert counts.read_counts(session).progress(rainy).places == 10
        trail = session.scalars(select(Audit).where(Audit.action == "decision.merge")).one()
        assert trail.subject == f"mode:{rainy}"
        assert trail.detail["note"] == "seen so"
    undo(loop, decision)
    loop.scan([11], {11: NIGHT})
    assert again(loop) == {RAINY: [1, 2, 3, 4, 5, 10], DARK: [6, 7, 8, 9, 11]}


def test_a_split_holds_for_failures_that_come_later_and_ends_when_it_is_undone(
    loop: ModeLoop,
) -> None:
    """Two modes that were made one are divided again, by two of the failures of each."""
    decide(loop, DecisionKind.MERGE, RAINY, modes=[number(loop, DARK)])
    again(loop)
    dark = [f"{100 + frame:064x}" for frame in (6, 7, 8)]
    decision = decide(loop, DecisionKind.SPLIT, RAINY, failures=dark, name="at night")
    loop.scan([9, 10], {9: NIGHT, 10: RAIN})
    assert again(loop) == {RAINY: [1, 2, 3, 4, 5, 10], "at night": [6, 7, 8, 9]}
    made = number(loop, "at night")
    with loop.context.sessions() as session:
        assert session.get_one(Decision, decision).detail["made"] == made
    loop.scan([11], {11: NIGHT})
    assert again(loop)["at night"] == [6, 7, 8, 9, 11]  # known again by the number it got
    undo(loop, decision)
    assert len(again(loop)[RAINY]) == 11


def test_a_decision_whose_modes_are_not_seen_any_more_says_so(loop: ModeLoop) -> None:
    decision = decide(loop, DecisionKind.MERGE, RAINY, modes=[number(loop, DARK)])

    def said() -> str:
        with loop.context.sessions() as session:
            row = session.get_one(Decision, decision)
            return decision_rows.told(session, [row]).get(decision, "holds")

    assert "takes effect in the next" in said()
    again(loop)
    assert said() == "holds"
    loop.scan(range(20, 23), dict.fromkeys(range(20, 23), 2))  # another cause
    with loop.context.sessions.begin() as session:
        for row in session.scalars(select(FailureRow)):
            if int(row.place, 16) - 100 < 20:
                row.state = FailureState.FIXED
    again(loop)
    assert "saw none of its modes" in said()


def test_a_name_is_taken_once_and_comes_back_when_it_is_undone(
    loop: ModeLoop, line: CommandLine
) -> None:
    line.done("modes", "list")
    line.done("decisions", "rename", str(number(loop, RAINY)), "missed car 3", "--why", "ours")
    assert loop.states().keys() == {"missed car 3", DARK}
    with pytest.raises(InvalidRequest, match="another mode is called"):
        decide(loop, DecisionKind.RENAME, DARK, name="missed car 3")
    loop.scan(range(20, 23), dict.fromkeys(range(20, 23), 2))
    assert again(loop)["missed car 4"] == [20, 21, 22]  # the name that was free is taken
    assert "missed car 3" in line.done("decisions", "list").out
    line.done("decisions", "undo", "1")
    assert loop.states().keys() == {RAINY, DARK, "missed car 4"}


def test_what_contradicts_is_refused_with_what_to_do(loop: ModeLoop) -> None:
    rainy, dark = number(loop, RAINY), number(loop, DARK)
    with pytest.raises(InvalidRequest, match="name another mode"):
        decide(loop, DecisionKind.MERGE, RAINY, modes=[rainy])
    with pytest.raises(NotFound, match="no failure mode 99"):
        decide(loop, DecisionKind.MERGE, RAINY, modes=[99])
    with pytest.raises(InvalidRequest, match="not of mode"):
        decide(loop, DecisionKind.SPLIT, RAINY, failures=[f"{106:064x}"])
    everything = [f"{100 + frame:064x}" for frame in range(1, 6)]
    with pytest.raises(InvalidRequest, match="would leave it"):
        decide(loop, DecisionKind.SPLIT, RAINY, failures=everything)
    first = decide(loop, DecisionKind.MERGE, RAINY, modes=[dark])
    with pytest.raises(Conflict, match="is part of mode"):
        decide(loop, DecisionKind.SPLIT, DARK, failures=[f"{106:064x}"])
    with pytest.raises(Conflict, match="is part of mode"):
        decide(loop, DecisionKind.MERGE, DARK, modes=[rainy])
    undo(loop, first)
    undo(loop, first)
    with loop.context.sessions() as session:
        actions = session.scalars(select(Audit.action).where(Audit.action == "decision.undo"))
        assert len(actions.all()) == 1


def test_no_way_of_undoing_makes_a_mode_part_of_itself(sqlite_context: Context) -> None:
    """Whoever follows such parts would follow them for ever."""

    def merged(session: Session, into: int, part: int) -> int:
        return decisions.merge(session, into, [part]).id

    with sqlite_context.sessions.begin() as session:
        champion = add_champion(session)
        session.add(cycle := Cycle(policy="random", budget_boxes=9, champion_id=champion.id))
        session.flush()
        for one in range(1, 5):
            name, about = f"missed car {one}", {"family": "missed", "label": "car"}
            session.add(ModeRow(id=one, name=name, opened_cycle_id=cycle.id, **about))
        session.flush()
        detail = {"places": ["a"], "made": 2, "name": ""}
        session.add(halved := Decision(kind=DecisionKind.SPLIT, mode_id=1, detail=detail))
        session.flush()
        merged(session, 3, 1)
        merged(session, 2, 3)
        last = merged(session, 4, 2)
        decisions.undo(session, halved.id)  # 2 is part of 4 by now, and of 1 no more
        assert decision_rows.merged_into(session) == {1: 4, 2: 4, 3: 4}
    with (
        pytest.raises(Conflict, match="part of itself"),
        sqlite_context.sessions.begin() as session,
    ):
        decisions.undo(session, last)
    with sqlite_context.sessions() as session:
        assert decision_rows.merged_into(session) == {1: 4, 2: 4, 3: 4}
