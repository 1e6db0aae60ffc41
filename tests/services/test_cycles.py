"""A cycle's way from start to end, step by step, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from services import units
from services.context import Context
from services.cycle import cycles
from services.db.tables import Cycle, CycleState, LabelTask, TaskState, Unit, UnitState
from services.errors import Conflict
from tests.services.builders import (
    add_champion,
    add_holdout_image,
    add_task,
    finish_units,
    make_image,
)


def _start(context: Context, pool: int = 3) -> int:
    with context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
        session.add_all(make_image(number) for number in range(pool))
        session.flush()
        return cycles.start(session, context, policy="random", budget_boxes=10).id


def _state(context: Context, cycle_id: int) -> str:
    with context.sessions() as session:
        return session.get_one(Cycle, cycle_id).state


def _advance(context: Context, cycle_id: int) -> str:
    with context.sessions.begin() as session:
        cycles.advance(session, context, cycle_id)
    return _state(context, cycle_id)


def test_needs_a_champion(context: Context) -> None:
    with context.sessions.begin() as session, pytest.raises(Conflict, match="e2x train"):
        cycles.start(session, context, policy="random")


def test_one_cycle_at_a_time(context: Context) -> None:
    first = _start(context)
    with context.sessions.begin() as session, pytest.raises(Conflict, match=f"cycle {first} is"):
        cycles.start(session, context, policy="random")


@pytest.mark.parametrize("kind", [cycles.FULL, cycles.RETRAIN])
@pytest.mark.parametrize(
    ("holdout", "said"),
    [
        (None, "the gate needs a holdout: `e2x import FOLDER --role holdout`"),
        ({"label": "Car"}, r"no object of car \(it has Car\): import a holdout"),
        ({"label": "car", "ignore": True}, r"no object of car \(it has none at all\)"),
    ],
)
def test_nothing_begins_whose_gate_could_measure_nothing(
    sqlite_context: Context, kind: str, holdout: dict[str, object] | None, said: str
) -> None:
    context = sqlite_context
    with context.sessions.begin() as session:
        add_champion(session)
        if holdout is not None:
            add_holdout_image(session, **holdout)
    with context.sessions.begin() as session, pytest.raises(Conflict, match=said):
        cycles.start(session, context, kind=kind)
    with context.sessions.begin() as session:
        assert session.scalars(select(Cycle)).all() == []
        add_holdout_image(session, number=5)
        assert cycles.start(session, context, kind=kind).id


def test_selects_only_when_the_pool_is_scored(context: Context) -> None:
    number = _start(context)
    assert _advance(context, number) == CycleState.EXPLAINING
    with context.sessions.begin() as session:
        assert finish_units(session, context, "score_pool", {}) == 1
    assert _advance(context, number) == CycleState.SELECTING
    assert _advance(context, number) == CycleState.SELECTING  # twice changes nothing
    with context.sessions() as session:
        assert len(session.scalars(select(Unit).where(Unit.kind == "select")).all()) == 1


def test_waits_for_explanations_that_were_asked_for_before(context: Context) -> None:
    with context.sessions.begin() as session:
        units.enqueue(session, "explain", "explain:a:b", {"image": "a", "model": "b"})
    number = _start(context)
    with context.sessions.begin() as session:
        finish_units(session, context, "score_pool", {})
    assert _advance(context, number) == CycleState.EXPLAINING
    with context.sessions.begin() as session:
        finish_units(session, context, "explain", {})
    assert _advance(context, number) == CycleState.SELECTING


def test_nothing_to_label_ends_the_cycle(context: Context) -> None:
    number = _start(context)
    with context.sessions.begin() as session:
        cycles.begin_labelling(session, context, session.get_one(Cycle, number))
    assert _state(context, number) == CycleState.DONE
    with context.sessions() as session:
        assert "nothing to label" in str(session.get_one(Cycle, number).error)


def test_trains_when_every_task_is_answered(context: Context) -> None:
    number = _start(context)
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        cycle.state = CycleState.LABELLING
        add_task(session, cycle, make_image_in(session, 0), 4)
        waiting = add_task(session, cycle, make_image_in(session, 1), None)
        waiting_id = waiting.id
    assert _advance(context, number) == CycleState.LABELLING
    with context.sessions.begin() as session:
        session.get_one(LabelTask, waiting_id).state = TaskState.REJECTED
    assert _advance(context, number) == CycleState.TRAINING
    with context.sessions() as session:
        assert session.get_one(Cycle, number).boxes_labelled == 4
        assert session.scalars(select(Unit).where(Unit.kind == "train")).one().cycle_id == number


def test_spent_budget_closes_what_is_still_open(context: Context) -> None:
    number = _start(context)
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        cycle.state = CycleState.LABELLING
        add_task(session, cycle, make_image_in(session, 0), cycle.budget_boxes)
        open_id = add_task(session, cycle, make_image_in(session, 1), None).id
    assert _advance(context, number) == CycleState.TRAINING
    with context.sessions() as session:
        assert session.get_one(LabelTask, open_id).state == TaskState.SKIPPED
        assert session.get_one(Cycle, number).boxes_labelled == 10


def test_fails_when_no_label_comes(context: Context) -> None:
    number = _start(context)
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        cycle.state = CycleState.LABELLING
        add_task(session, cycle, make_image_in(session, 0), None).state = TaskState.SKIPPED
    assert _advance(context, number) == CycleState.FAILED


def test_a_parked_training_fails_the_cycle_with_its_reason(context: Context) -> None:
    number = _start(context)
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        cycle.state = CycleState.TRAINING
        unit = units.enqueue(session, "train", "t", {"cycle": number}, cycle_id=number)
        claim = units.claim(session, unit.id, "test", 60.0)
        assert claim is not None
        units.fail(session, claim, "non_finite_loss", "Traceback\nLoss is nan", False, 0.0)
    assert _advance(context, number) == CycleState.FAILED
    with context.sessions() as session:
        assert session.get_one(Cycle, number).error == "train: non_finite_loss: Loss is nan"


def test_cancel_stops_units_and_tasks_and_frees_the_loop(context: Context) -> None:
    number = _start(context)
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        task_id = add_task(session, cycle, make_image_in(session, 0), None).id
        cycles.cancel(session, context, number, "test")
    with context.sessions.begin() as session:
        states = set(session.scalars(select(Unit.state).where(Unit.cycle_id == number)))
        assert states == {UnitState.CANCELLED}
        assert session.get_one(LabelTask, task_id).state == TaskState.SKIPPED
        assert cycles.start(session, context, policy="random").id > number


def make_image_in(session, number):  # type: ignore[no-untyped-def]
    """The pool image of that number, which ``_start`` has made."""
    from services.db.tables import Image

    return session.get_one(Image, make_image(number).id)
