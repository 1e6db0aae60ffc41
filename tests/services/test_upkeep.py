"""Rows that nobody needs go, a few at a time; what they tell stays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from benchmarks.common.projects import make_model
from services import units
from services.context import Context
from services.db.base import utc_now
from services.db.tables import (
    Cycle,
    CycleState,
    Embedding,
    FailureRow,
    FailureState,
    Image,
    Look,
    Model,
    Outbox,
    Role,
    Unit,
    UnitState,
)
from services.models import registry
from services.report.field import read_field
from services.stages.embed import embedded_already
from services.store.storage import write_npz
from services.units.requests import request_scan
from services.upkeep import rows as upkeep
from services.upkeep.rows import BATCH, Upkeep
from tests.services.builders import add_champion, make_explanation, make_failure, make_image

OLD = timedelta(days=31)


def with_workers(context: Context, **changed: Any) -> Context:
    workers = context.settings.workers.model_copy(update=changed)
    settings = context.settings.model_copy(update={"workers": workers})
    return Context(settings, context.project, context.engine, context.sessions)


def add(context: Context, number: int, state: UnitState, age: timedelta, **more: Any) -> None:
    with context.sessions.begin() as session:
        for index in range(number):
            values = {"kind": "embed", "queue": "embed", "payload": {}, **more}
            key = f"{values['kind']}:{state}:{age}:{index}:{more.get('cycle_id')}"
            ended = None if state in (UnitState.QUEUED, UnitState.LEASED) else utc_now() - age
            unit = Unit(key=key, state=state, finished_at=ended, **values)
            session.add(unit)
            session.flush()
            units.announce(session, unit)


def states(context: Context) -> dict[str, int]:
    with context.sessions() as session:
        found = session.execute(select(Unit.state, func.count()).group_by(Unit.state))
        return {row[0]: row[1] for row in found}


def test_what_ended_long_ago_goes_and_is_still_counted(context: Context) -> None:
    for state in UnitState:
        add(context, 2, state, OLD)
        add(context, 1, state, timedelta(days=1))
    with context.sessions() as session:
        before = units.counts(session)
    assert upkeep.forget_units(context) == 4
    left = {state.value: 3 for state in UnitState}
    assert states(context) == left | {"done": 1, "cancelled": 1}
    with context.sessions() as session:
        assert units.counts(session) == before
        assert session.scalar(select(func.count()).select_from(Outbox)) == 11
    assert upkeep.forget_units(context) == 0


def test_only_so_many_that_ended_are_kept(context: Context) -> None:
    add(context, 8, UnitState.DONE, timedelta(0))
    add(context, 2, UnitState.QUEUED, timedelta(0))
    few = with_workers(context, keep_units=3)
    assert upkeep.forget_units(few) == 5
    assert states(context) == {"done": 3, "queued": 2}
    with context.sessions() as session:
        newest = session.scalars(select(Unit.id).where(Unit.state == UnitState.DONE)).all()
        assert sorted(newest) == [6, 7, 8]


def test_units_of_a_cycle_that_runs_stay_and_those_of_others_are_counted_by_cycle(
    context: Context,
) -> None:
    with context.sessions.begin() as session:
        for state in (CycleState.TRAINING, CycleState.DONE):
            session.add(Cycle(policy="e2x", budget_boxes=1, state=state))
    for number in (1, 2):
        add(context, 3, UnitState.DONE, OLD, cycle_id=number, kind="score_pool")
    assert upkeep.forget_units(context) == 3
    with context.sessions() as session:
        assert session.scalars(select(Unit.cycle_id)).all() == [1, 1, 1]
        assert [units.counts(session, number)["done"] for number in (1, 2)] == [3, 3]
        assert units.counts(session)["done"] == 6


def test_the_newest_training_stays(context: Context) -> None:
    add(context, 3, UnitState.DONE, OLD, kind="train")
    assert upkeep.forget_units(context) == 2


def test_much_goes_in_several_transactions(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite_context, 2 * BATCH + 1, UnitState.DONE, OLD)
    sizes: list[int] = []
    some = upkeep.forget

    def counted(*arguments: Any) -> int:
        sizes.append(some(*arguments))
        return sizes[-1]

    monkeypatch.setattr(upkeep, "forget", counted)
    assert upkeep.forget_units(sqlite_context) == 2 * BATCH + 1
    assert sizes == [BATCH, BATCH, 1]


def test_messages_go_once_nobody_looks_at_them(context: Context) -> None:
    add(context, 1, UnitState.QUEUED, OLD)
    add(context, 1, UnitState.CANCELLED, timedelta(0))  # its message was never sent
    add(context, 1, UnitState.DONE, timedelta(0))
    with context.sessions.begin() as session:
        sent = select(Unit.id).where(Unit.state == UnitState.DONE)
        session.execute(
            update(Outbox).where(Outbox.unit_id.in_(sent)).values(published_at=utc_now() - OLD)
        )
    assert upkeep.forget_published(context) == 2
    with context.sessions() as session:
        [left] = session.scalars(select(Outbox)).all()
        assert session.get_one(Unit, left.unit_id).state == UnitState.QUEUED


# --- what was done is not done again


@pytest.fixture
def scanned(context: Context) -> Context:
    """Two models have looked at two frames, a year ago; the second is the champion."""
    with context.sessions.begin() as session:
        session.add_all(make_image(number, Role.FIELD) for number in range(2))
        session.flush()
        add_champion(session, 1)
        _end_scans(session)
        session.add(second := make_model(2))
        session.flush()
        registry.promote(session, second, "test", {})
        _end_scans(session)
    return context


def _end_scans(session: Any) -> None:
    for unit in session.query(Unit).filter_by(state=UnitState.QUEUED):
        unit.state, unit.finished_at = UnitState.DONE, utc_now() - timedelta(days=365)
    session.flush()


def test_frames_are_not_scanned_again_by_the_champion_that_has_scanned_them(
    scanned: Context,
) -> None:
    assert upkeep.forget_units(scanned) == 2  # those of the first model
    with scanned.sessions.begin() as session:
        request_scan(session, f"{0:064x}")
    assert states(scanned) == {"done": 2}


def test_which_model_has_looked_at_which_frame_is_remembered(scanned: Context) -> None:
    def looked() -> tuple[dict[str, int], int]:
        with scanned.sessions() as session:
            models: Sequence[Model] = session.scalars(select(Model).order_by(Model.number)).all()
            counts = read_field(session, models)
            return dict(counts.frames), counts.shared

    before = looked()
    assert before == ({f"{1:064x}": 2, f"{2:064x}": 2}, 2)
    upkeep.forget_units(scanned)
    with scanned.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Look)) == 2
    assert looked() == before


# --- explanations that are missing


def test_a_failure_without_its_explanation_is_explained(context: Context) -> None:
    with context.sessions.begin() as session:
        champion = add_champion(session)
        session.add(earlier := make_model(2))
        frames = [make_image(number, Role.FIELD) for number in range(3)]
        session.add_all(frames)
        session.flush()
        whole, lost = make_failure(1, frames[0], champion), make_failure(2, frames[1], champion)
        of_another = make_failure(3, frames[2], earlier)
        session.add_all([whole, lost, of_another])
        session.flush()
        session.add(make_explanation(whole))
    assert upkeep.run(context) == Upkeep(messages=0, units=0, frames=1, audit=0)
    with context.sessions() as session:
        rows = session.scalars(select(FailureRow).order_by(FailureRow.id)).all()
        explained, found = FailureState.EXPLAINED, FailureState.FOUND
        assert [row.state for row in rows] == [explained, found, found]
        asked = session.scalars(select(Unit).where(Unit.kind == "explain")).one()
        assert asked.payload == {"image": rows[1].image_id, "model": rows[1].model_id}
    assert upkeep.run(context).frames == 0


def test_images_that_are_embedded_are_not_embedded_again(sqlite_context: Context) -> None:
    with sqlite_context.sessions.begin() as session:
        session.add_all(make_image(number) for number in range(3))
        session.flush()
        for number, file in ((0, "there.npz"), (1, "gone.npz")):
            session.add(
                Embedding(image_id=f"{number:064x}", encoder_version="e", file=file, regions=1)
            )
    write_npz(sqlite_context.project.embeddings / "there.npz")
    with sqlite_context.sessions() as session:
        ids = list(session.scalars(select(Image.id)))
    assert embedded_already(sqlite_context, ids, "e") == {f"{0:064x}"}
    assert embedded_already(sqlite_context, ids, "another") == set()
