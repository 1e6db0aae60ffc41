"""What starts cycles and retrainings without a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from services.config.setting_groups import LabelSettings, TriggerSettings
from services.context import Context
from services.cycle import triggers
from services.db.base import utc_now
from services.db.tables import Annotation, Cycle, CycleState, Model, Role
from services.models import registry
from tests.services.builders import (
    add_champion,
    add_holdout_image,
    add_task,
    make_failure,
    make_image,
)


def _with(context: Context, **rules: Any) -> Context:
    settings = context.settings.model_copy(update={"triggers": TriggerSettings(**rules)})
    return Context(settings, context.project, context.engine, context.sessions)


def _ready(session: Session) -> Model:
    """What no cycle can begin without; the champion."""
    add_holdout_image(session)
    return add_champion(session)


def _failures(session: Session, model: Model, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        image = make_image(100 + number, Role.FIELD)
        session.add(image)
        session.flush()
        session.add(make_failure(number, image, model))


def _end(context: Context, number: int, state: CycleState, **values: Any) -> None:
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        cycle.state, cycle.finished_at = state, utc_now()
        for name, value in values.items():
            setattr(cycle, name, value)


def _label(context: Context, number: int) -> None:
    with context.sessions.begin() as session:
        image = session.merge(make_image(number))
        session.flush()
        session.add(Annotation(image_id=image.id, objects=[]))


def test_nothing_happens_without_a_champion(context: Context) -> None:
    assert triggers.check(_with(context, new_failures=1)) == []


@pytest.mark.parametrize(("failures", "started"), [(2, 0), (3, 1)])
def test_enough_new_failures_start_a_cycle(context: Context, failures: int, started: int) -> None:
    with context.sessions.begin() as session:
        _failures(session, _ready(session), failures)
    ready = _with(context, new_failures=3)
    assert len(triggers.check(ready)) == started
    assert triggers.check(ready) == []  # one cycle at a time
    with context.sessions() as session:
        cycles = session.scalars(select(Cycle)).all()
        assert [(c.kind, c.trigger) for c in cycles] == [("full", "failures")] * started


@pytest.mark.parametrize("ending", [CycleState.FAILED, CycleState.CANCELLED, CycleState.DONE])
def test_the_same_failures_start_one_cycle_whatever_comes_of_it(
    context: Context, ending: CycleState, caplog: pytest.LogCaptureFixture
) -> None:
    with context.sessions.begin() as session:
        champion = _ready(session)
        _failures(session, champion, 3)
    ready = _with(context, new_failures=3)
    [number] = triggers.check(ready)
    _end(context, number, ending, error="select: disk_full: no space left")

    assert triggers.check(ready) == []

    said = f"cycle {number} failed (select: disk_full: no space left): what started it starts none"
    told = [one.getMessage() for one in caplog.records if one.name == triggers.__name__]
    assert [one.startswith(said) for one in told] == [True] * (ending == CycleState.FAILED)
    with context.sessions.begin() as session:
        _failures(session, champion, 2, first=3)
    assert triggers.check(ready) == []
    with context.sessions.begin() as session:
        _failures(session, champion, 1, first=5)
    assert len(triggers.check(ready)) == 1


@pytest.mark.parametrize(
    "rules", [{"new_failures": 3}, {"cycle_cron": "* * * * *"}, {"retrain_cron": "* * * * *"}]
)
def test_what_cannot_start_is_said_once_and_starts_when_it_can(
    sqlite_context: Context, rules: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Looks come every few seconds: without a holdout each of them would fail anew."""
    context = sqlite_context
    with context.sessions.begin() as session:
        _failures(session, add_champion(session), 3)
    ready, later = _with(context, **rules), utc_now() + timedelta(minutes=2)

    assert [triggers.check(ready, later) for _ in range(3)] == [[], [], []]

    told = [one.getMessage() for one in caplog.records if one.name == triggers.__name__]
    assert len(told) == 1
    assert "cannot start: the gate needs a holdout: `e2x import" in told[0]
    with context.sessions.begin() as session:
        add_holdout_image(session)
    assert len(triggers.check(ready, later)) == 1


def test_enough_new_labels_start_a_retraining_once(context: Context) -> None:
    with context.sessions.begin() as session:
        _ready(session)
        session.add(make_image(1))
        session.flush()
        session.add(Annotation(image_id=make_image(1).id, objects=[]))
    ready = _with(context, new_labels=1)
    [number] = triggers.check(ready)
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        assert (cycle.kind, cycle.state) == ("retrain", CycleState.TRAINING)
        # A challenger that the gate refuses must not be trained again on the same labels.
        cycle.state, cycle.finished_at = CycleState.DONE, utc_now()
        cycle.dataset_version_id = _dataset(session)
    assert triggers.check(ready) == []


def test_a_retraining_that_fails_is_not_tried_with_the_same_labels(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with context.sessions.begin() as session:
        _ready(session)
    _label(context, 1)
    ready = _with(context, new_labels=1)
    [number] = triggers.check(ready)
    _end(context, number, CycleState.FAILED, error="train: non_finite_loss: Loss is nan")

    assert triggers.check(ready) == []
    assert any("Loss is nan" in one.getMessage() for one in caplog.records)

    _label(context, 2)
    assert len(triggers.check(ready)) == 1


def test_labels_that_come_while_a_training_runs_are_new_afterwards(context: Context) -> None:
    with context.sessions.begin() as session:
        _ready(session)
    _label(context, 1)
    ready = _with(context, new_labels=1)
    [number] = triggers.check(ready)
    with context.sessions.begin() as session:
        version = _dataset(session)
    _label(context, 2)  # the dataset version is frozen by now
    with context.sessions.begin() as session:
        session.add(challenger := make_model(2))
        session.flush()
        registry.promote(session, challenger, "gate", {})
    _end(context, number, CycleState.DONE, dataset_version_id=version)

    with context.sessions() as session:
        assert triggers.new_labels(session) == 1
    assert len(triggers.check(ready)) == 1


def test_a_cron_expression_fires_once_a_period(context: Context) -> None:
    with context.sessions.begin() as session:
        _ready(session)
    daily = _with(context, cycle_cron="0 3 * * *")
    tomorrow = utc_now() + timedelta(days=1, minutes=1)
    assert triggers.check(daily) == []
    assert len(triggers.check(daily, tomorrow)) == 1


def test_labelling_closes_early_when_enough_answers_are_in(context: Context) -> None:
    with context.sessions.begin() as session:
        model = add_champion(session)
        images = [make_image(number) for number in range(2)]
        session.add_all(images)
        cycle = Cycle(
            policy="e2x", budget_boxes=9, champion_id=model.id, state=CycleState.LABELLING
        )
        session.add(cycle)
        session.flush()
        add_task(session, cycle, images[0], 2)
        add_task(session, cycle, images[1], None)
        number = cycle.id
    patient = _with(context, new_labels=1)
    assert triggers.check(patient) == []
    settings = patient.settings.model_copy(update={"labels": LabelSettings(wait_for_all=False)})
    eager = Context(settings, context.project, context.engine, context.sessions)
    assert triggers.check(eager) == [number]
    with context.sessions() as session:
        assert session.get_one(Cycle, number).state == CycleState.TRAINING


def _dataset(session: Session) -> str:
    from services.db.tables import DatasetVersion

    session.add(DatasetVersion(id="d" * 64, file="d.jsonl", images=1, boxes=0))
    session.flush()
    return "d" * 64
