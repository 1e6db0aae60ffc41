"""Promotion and rollback: one transaction each, and the way back is always known."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_model
from services.context import Context
from services.db.tables import (
    Audit,
    FailureRow,
    FailureState,
    Image,
    Model,
    ModelState,
    Pointer,
    Role,
    Unit,
    UnitState,
)
from services.errors import Conflict, NotFound
from services.models import registry
from services.units.requests import request_scan
from tests.services.builders import (
    add_champion,
    finish_units,
    make_explanation,
    make_failure,
    make_image,
)


def test_promotion_swaps_states_and_scans_the_field(context: Context) -> None:
    with context.sessions.begin() as session:
        session.add(make_image(7, Role.FIELD))
        first = add_champion(session, 1)
        second = make_model(2)
        session.add(second)
        session.flush()
        registry.promote(session, second, "gate", {"why": 1})
        assert (first.state, second.state) == (ModelState.RETIRED, ModelState.CHAMPION)
        assert session.get_one(Pointer, "champion").version == 2
        assert len(session.scalars(select(Unit).where(Unit.kind == "scan")).all()) == 2
        with pytest.raises(Conflict, match="already"):
            registry.promote(session, second, "gate", {})


def test_a_promotion_that_fails_half_way_changes_nothing(context: Context) -> None:
    with context.sessions.begin() as session:
        add_champion(session, 1)
        session.add(make_model(2))
    with pytest.raises(RuntimeError, match="died"):
        _promote_and_die(context)
    with context.sessions() as session:
        champion = registry.champion(session)
        assert champion is not None
        assert champion.number == 1
        assert session.scalars(select(Audit)).one().subject == f"model:{champion.id}"


def _promote_and_die(context: Context) -> None:
    with context.sessions.begin() as session:
        registry.promote(session, registry.find(session, "2"), "gate", {})
        raise RuntimeError("the process died here")


def test_rollback_reverses_the_latest_promotion_and_reopens_failures(context: Context) -> None:
    with context.sessions.begin() as session:
        image = make_image(7, Role.FIELD)
        session.add(image)
        first = add_champion(session, 1)
        failure = make_failure(1, image, first)
        unexplained = make_failure(2, image, first)
        session.add_all([failure, unexplained, second := make_model(2)])
        session.flush()
        session.add(make_explanation(failure))
        session.flush()
        registry.promote(session, second, "gate", {})
        for row in (failure, unexplained):
            row.state, row.fixed_by = FailureState.FIXED, second.id
    with context.sessions.begin() as session:
        assert registry.rollback(session, "person").number == 1
    with context.sessions() as session:
        states = {model.number: model.state for model in session.scalars(select(Model))}
        assert states == {1: ModelState.CHAMPION, 2: ModelState.RETIRED}
        rows = session.scalars(select(FailureRow).order_by(FailureRow.id)).all()
        assert [row.state for row in rows] == [FailureState.EXPLAINED, FailureState.FOUND]
        assert [row.fixed_by for row in rows] == [None, None]
        assert session.scalars(select(Image)).one().role == Role.FIELD


def _scanned(context: Context) -> list[str]:
    """Do the scans that wait as a worker would, but for the work; numbers of their models."""
    with context.sessions.begin() as session:
        waiting = session.scalars(select(Unit).where(Unit.state == UnitState.QUEUED)).all()
        models = [str(int(unit.payload["model"], 16)) for unit in waiting]
        finish_units(session, context, "scan", {})
    return models


def test_the_field_is_looked_at_again_whenever_the_champion_changes(context: Context) -> None:
    with context.sessions.begin() as session:
        session.add(make_image(7, Role.FIELD))
        session.flush()
        add_champion(session, 1)
        session.add(make_model(2))
    assert _scanned(context) == ["1"]
    for _ in range(2):
        with context.sessions.begin() as session:
            registry.promote(session, registry.find(session, "2"), "person", {})
        assert _scanned(context) == ["2"]
        with context.sessions.begin() as session:
            registry.rollback(session, "person")
        assert _scanned(context) == ["1"]


def test_a_frame_is_looked_at_once_while_the_champion_stays(context: Context) -> None:
    with context.sessions.begin() as session:
        image = make_image(7, Role.FIELD)
        session.add(image)
        session.flush()
        add_champion(session, 1)
        request_scan(session, image.id)
        request_scan(session, image.id, "words")
        request_scan(session, image.id, "words")
        assert len(session.scalars(select(Unit)).all()) == 2


def test_there_must_be_something_to_roll_back_to(context: Context) -> None:
    with context.sessions.begin() as session:
        with pytest.raises(Conflict, match="no champion"):
            registry.rollback(session, "person")
        add_champion(session, 1)
        with pytest.raises(Conflict, match="nothing to roll back"):
            registry.rollback(session, "person")


@pytest.mark.parametrize("name", ["1", f"{1:064x}", f"{1:064x}"[:60] + "0001"])
def test_models_are_found_by_number_and_id(context: Context, name: str) -> None:
    with context.sessions.begin() as session:
        session.add(make_model(1))
        session.flush()
        assert registry.find(session, name).number == 1
        with pytest.raises(NotFound, match="models list"):
            registry.find(session, "99")


@pytest.mark.parametrize("name", ["%", "_", "0%1", "0" * 59 + "_0001", "\\"])
def test_a_name_is_no_pattern(context: Context, name: str) -> None:
    with context.sessions.begin() as session:
        session.add(make_model(1))
        session.flush()
        with pytest.raises(NotFound, match="0 models match"):
            registry.find(session, name)
