"""A champion that finds next to nothing: failures wait, every door says why, nothing is lost."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from services import units
from services.config.setting_groups import ExplanationSettings, TriggerSettings
from services.context import Context
from services.cycle import cycles, triggers
from services.db.base import utc_now
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    Model,
    Pointer,
    Role,
    Unit,
    UnitState,
)
from services.errors import Conflict
from services.models import holding, registry
from services.store.storage import put_image
from services.units.resident import Resident
from services.upkeep import rows as upkeep
from services.worker import shell
from tests import bad_images
from tests.services.builders import add_holdout_image, make_failure, make_image
from tests.services.commands import CommandLine

BOXES = {"objects": 797, "unfitting": 147, "smaller": 140, "overlap": 0.5}
WEAK: dict[str, Any] = {
    "holdout": {"objects": 797, "found": 11, "missed": 786, "images": 1, "default_boxes": BOXES}
}
SAID = "finds 1 % of the holdout (11 of 797 objects)"


def quick(context: Context, **explanation: Any) -> Context:
    """Explanations that take a second."""
    wanted = ExplanationSettings(
        method="e2x", num_samples=2, num_segments=20, **explanation
    )  # no encoder is downloaded either
    selection = context.settings.selection.model_copy(
        update={"encoder_weights": "random", "encoder_height_px": 64}
    )
    settings = context.settings.model_copy(update={"explanation": wanted, "selection": selection})
    return Context(settings, context.project, context.engine, context.sessions)


def champion(session: Session, reports: dict[str, Any] = WEAK) -> Model:
    model = session.scalars(select(Model)).first()
    if model is None:
        model = make_model()
        session.add(model)
        session.flush()
    if registry.champion(session) is None:
        registry.promote(session, model, "test", {})
    model.reports = reports
    session.flush()
    return model


def explain(context: Context) -> list[dict[str, Any]]:
    """Work off the explanations that are asked for; their results."""
    with context.sessions() as session:
        query = select(Unit.id).where(Unit.kind == "explain", Unit.state == UnitState.QUEUED)
        waiting = list(session.scalars(query))
    resident = Resident()
    for unit_id in waiting:
        shell.run(context, resident, unit_id, "test")
    with context.sessions() as session:
        done = [session.get_one(Unit, unit_id) for unit_id in waiting]
        assert {unit.state for unit in done} <= {UnitState.DONE}, [unit.error for unit in done]
        return [dict(unit.result or {}) for unit in done]


def ask(context: Context) -> None:
    with context.sessions.begin() as session:
        failure = session.scalars(select(FailureRow)).first()
        assert failure is not None
        payload = {"image": failure.image_id, "model": failure.model_id}
        count = session.scalar(select(func.count()).select_from(Unit))
        units.enqueue(session, "explain", f"explain:{count}", payload)


def states(context: Context) -> set[str]:
    with context.sessions() as session:
        return set(session.scalars(select(FailureRow.state)))


def test_failures_of_a_weak_champion_wait_until_a_person_wants_them_explained(
    found: Context,
) -> None:
    context = quick(found)
    with context.sessions.begin() as session:
        champion(session)
    ask(context)
    [result] = explain(context)
    assert result["explained"] == 0
    assert SAID in result["held"]
    assert states(context) == {FailureState.FOUND}
    with context.sessions.begin() as session:
        model = champion(session)
        assert holding.waiting(session, model.id) == 2
        assert holding.release(session, context.settings, model) == 1
        assert holding.release(session, context.settings, model) == 0
    [result] = explain(context)
    assert result["explained"] == 2
    assert states(context) == {FailureState.EXPLAINED}
    with context.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Explanation)) == 2


def test_what_waits_is_let_go_when_the_bound_is_lowered(found: Context) -> None:
    context = quick(found)
    with context.sessions.begin() as session:
        champion(session)
    ask(context)
    explain(context)
    assert holding.let_go(context) == 0
    lower = quick(found, min_recall=0.01)
    assert upkeep.run(lower).frames == 1
    assert holding.let_go(lower) == 0
    with lower.sessions() as session:
        query = select(Unit).where(Unit.kind == "explain", Unit.state == UnitState.QUEUED)
        assert session.scalars(query).one()


def test_a_better_champion_looks_itself_and_nothing_waits_any_more(found: Context) -> None:
    context = quick(found)
    with context.sessions.begin() as session:
        old = champion(session)
    ask(context)
    explain(context)
    with context.sessions.begin() as session:
        better = make_model(2, folder="models/tiny", class_names=list(old.class_names))
        better.reports = {"holdout": {"objects": 797, "found": 500}}
        session.add(better)
        session.flush()
        registry.promote(session, better, "test", {})
    with context.sessions() as session:
        scans = session.scalars(select(Unit).where(Unit.kind == "scan")).all()
        assert f"{2:064x}" in {unit.payload["model"] for unit in scans}
        assert holding.why_champion_held(session, context.settings) is None
    assert holding.let_go(context) == 0
    with context.sessions() as session:
        assert session.get(Pointer, holding.HELD) is None


def test_a_holdout_that_came_after_the_training_is_measured_first(found: Context) -> None:
    context = quick(found, min_recall=1.0)
    with context.sessions.begin() as session:
        model = champion(session, {})
    assert holding.check(context, model.id) is None  # nothing is known without a holdout
    with context.sessions.begin() as session:
        stored = put_image(context, bad_images.png(5))
        image = make_image(0, Role.HOLDOUT, id=stored.id, file=stored.file)
        image.width_px, image.height_px = stored.width_px, stored.height_px
        session.add(image)
        session.flush()
        box = [0.0, 0.0, 1.0, 1.0]  # which no detector finds
        objects = [{"box": box, "label": model.class_names[1], "ignore": False}]
        session.add(Annotation(image_id=image.id, objects=objects))
    assert "finds 0 % of the holdout (0 of 1 objects)" in (holding.check(context, model.id) or "")
    with context.sessions() as session:
        measured = session.get_one(Model, model.id).reports["holdout"]
    assert measured["default_boxes"]["unfitting"] == 1


def test_limits_are_told_with_their_numbers(sqlite_context: Context) -> None:
    settings = sqlite_context.settings
    with sqlite_context.sessions.begin() as session:
        [said] = holding.limits(settings, champion(session))
        assert said.startswith(f"{SAID}: explanations of such a detector mean little; train longer")
        assert "smaller default boxes" in said
        assert "147 of 797 objects of the holdout have none that fits" in said
        good = {"holdout": WEAK["holdout"] | {"found": 700}}
        [said] = holding.limits(settings, champion(session, good))
        assert said.startswith("may find more with smaller default boxes")
        fits = {"holdout": good["holdout"] | {"default_boxes": BOXES | {"unfitting": 3}}}
        assert holding.limits(settings, champion(session, fits)) == []
        assert holding.limits(settings, champion(session, {})) == []


def waiting_failure(context: Context) -> None:
    with context.sessions.begin() as session:
        model = champion(session)
        add_holdout_image(session)
        model.reports = WEAK
        image = make_image(7, Role.FIELD)
        session.add(image)
        session.flush()
        session.add(make_failure(7, image, model, state=FailureState.FOUND))


def test_a_cycle_that_chooses_by_explanations_is_refused_and_told_why(
    sqlite_context: Context,
) -> None:
    waiting_failure(sqlite_context)
    with (
        sqlite_context.sessions.begin() as session,
        pytest.raises(Conflict, match=r"finds 1 % .* 1 wait, and the policy e2x chooses by"),
    ):
        cycles.start(session, sqlite_context, policy="e2x")
    for number, wanted in enumerate(({"policy": "random"}, {"kind": cycles.RETRAIN}), 1):
        with sqlite_context.sessions.begin() as session:
            assert cycles.start(session, sqlite_context, **wanted).id == number
            cycles.cancel(session, sqlite_context, number, "test")


def test_a_cycle_that_is_wanted_anyway_waits_for_the_explanations(sqlite_context: Context) -> None:
    waiting_failure(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        cycle_id = cycles.start(session, sqlite_context, policy="e2x", anyway=True).id
    with sqlite_context.sessions() as session:
        unit = session.scalars(select(Unit).where(Unit.kind == "explain")).one()
        assert unit.cycle_id == cycle_id
        assert session.get_one(Cycle, cycle_id).state == CycleState.EXPLAINING


def test_a_schedule_is_refused_as_a_person_is(
    sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    waiting_failure(sqlite_context)
    rules = TriggerSettings(cycle_cron="* * * * *")
    settings = sqlite_context.settings.model_copy(update={"triggers": rules})
    wired = Context(settings, *[getattr(sqlite_context, n) for n in ("project", "engine")],
                    sqlite_context.sessions)  # fmt: skip
    with caplog.at_level(logging.WARNING):
        assert triggers.check(wired, utc_now() + timedelta(minutes=2)) == []
    assert SAID in caplog.text


def test_the_command_line_says_why_and_lets_go(line: CommandLine) -> None:
    with line.opened() as context:
        waiting_failure(context)
    (line.root / "frame.png").write_bytes(bad_images.png(3))
    said = line.done("ingest", line.root / "frame.png", "--empty")
    assert f"! model 1 {SAID}" in said.out
    assert SAID in line.done("failures", "list").out
    assert SAID in line.refused("cycle", "start", "--policy", "e2x")
    shown = line.done("models", "show", "1")
    assert "147 of 797 objects of the holdout have none that fits" in shown.out
    again = line.done("ingest", line.root / "frame.png", "--empty", "--anyway", "--json").json
    assert again["held"] is None
    with line.opened() as context, context.sessions() as session:
        assert session.scalars(select(Unit).where(Unit.kind == "explain")).one()
        frame = session.scalars(select(Image).where(Image.role == Role.FIELD)).all()
        assert len(frame) == 2
