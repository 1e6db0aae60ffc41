"""What starts cycles and retrainings without a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services import triggers
from services.context import Context
from services.db.base import utc_now
from services.db.tables import Annotation, Cycle, CycleState, Model, Role
from services.setting_groups import LabelSettings, TriggerSettings
from tests.services.builders import add_champion, add_task, make_failure, make_image


def _with(context: Context, **rules: Any) -> Context:
    settings = context.settings.model_copy(update={"triggers": TriggerSettings(**rules)})
    return Context(settings, context.project, context.engine, context.sessions)


def _failures(session: Session, model: Model, count: int) -> None:
    for number in range(count):
        image = make_image(100 + number, Role.FIELD)
        session.add(image)
        session.flush()
        session.add(make_failure(number, image, model))


def test_nothing_happens_without_a_champion(context: Context) -> None:
    assert triggers.check(_with(context, new_failures=1)) == []


@pytest.mark.parametrize(("failures", "started"), [(2, 0), (3, 1)])
def test_enough_new_failures_start_a_cycle(context: Context, failures: int, started: int) -> None:
    with context.sessions.begin() as session:
        _failures(session, add_champion(session), failures)
    ready = _with(context, new_failures=3)
    assert len(triggers.check(ready)) == started
    assert triggers.check(ready) == []  # one cycle at a time
    with context.sessions() as session:
        cycles = session.scalars(select(Cycle)).all()
        assert [(c.kind, c.trigger) for c in cycles] == [("full", "failures")] * started


def test_enough_new_labels_start_a_retraining_once(context: Context) -> None:
    with context.sessions.begin() as session:
        add_champion(session)
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


def test_a_cron_expression_fires_once_a_period(context: Context) -> None:
    with context.sessions.begin() as session:
        add_champion(session)
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
