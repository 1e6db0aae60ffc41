"""A pinned champion stays: no gate, no training and no person puts another in its place."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_model
from services.context import Context
from services.db import actors
from services.db.actors import Actor, Door
from services.db.tables import (
    Audit,
    Cycle,
    DatasetVersion,
    Model,
    ModelState,
    ModeRow,
    ModeSighting,
    Pointer,
)
from services.errors import Conflict
from services.models import pins, registration, registry
from services.models.training import Trained
from services.units.resident import Resident
from services.web import comparison
from services.worker import shell
from tests.services.builders import add_champion
from tests.services.commands import CommandLine
from tests.services.judged_models import add_gating_cycle, add_holdout, add_judged
from tests.services.pages import Door as PageDoor

ADA = Actor("ada", Door.CLI)


@pytest.fixture
def two(context: Context) -> Context:
    """A champion, and another model."""
    with context.sessions.begin() as session:
        add_champion(session, 1)
        session.add(make_model(2))
    return context


def _pin(context: Context, number: int) -> None:
    with actors.acting(ADA), context.sessions.begin() as session:
        pins.pin(session, registry.find(session, str(number)))


def _unpin(context: Context, number: int) -> None:
    with actors.acting(ADA), context.sessions.begin() as session:
        pins.unpin(session, registry.find(session, str(number)))


def _champion(context: Context) -> int:
    with context.sessions() as session:
        return registry.require_champion(session).number


def test_a_pinned_champion_is_neither_replaced_nor_rolled_back_until_it_is_unpinned(
    two: Context,
) -> None:
    with two.sessions.begin() as session:
        registry.promote(session, registry.find(session, "2"), "ada", {})
    _pin(two, 2)
    _pin(two, 2)  # twice is once
    with pytest.raises(Conflict, match="model 2 is pinned"), two.sessions.begin() as session:
        registry.promote(session, registry.find(session, "1"), "ada", {})
    with pytest.raises(Conflict, match="unpin"), two.sessions.begin() as session:
        registry.rollback(session, "ada")
    assert _champion(two) == 2

    _unpin(two, 2)
    _unpin(two, 2)
    with two.sessions.begin() as session:
        registry.rollback(session, "ada")
    assert _champion(two) == 1
    with two.sessions() as session:
        actions = session.scalars(select(Audit.action).order_by(Audit.id)).all()
    assert [one for one in actions if "pin" in one] == ["model.pin", "model.unpin"]


def test_only_the_champion_is_pinned(two: Context) -> None:
    with pytest.raises(Conflict, match="not the champion"):
        _pin(two, 2)
    _unpin(two, 2)
    with two.sessions() as session:
        assert session.get(Pointer, pins.PINNED) is None
        assert session.scalars(select(Audit).where(Audit.action.startswith("model."))).all() == []


@pytest.mark.parametrize("pinned", [True, False])
def test_the_gate_leaves_a_pinned_champion_and_its_verdict_stands(
    context: Context, pinned: bool
) -> None:
    with context.sessions.begin() as session:
        add_holdout(session)
        champion = add_judged(session, context, 1, 0.5)
        registry.promote(session, champion, "test", {})
        challenger = add_judged(session, context, 2, 0.7)
        number, unit = add_gating_cycle(session, champion, challenger)
    if pinned:
        _pin(context, 1)

    assert shell.run(context, Resident(), unit, "test") == "done"

    assert _champion(context) == (1 if pinned else 2)
    with context.sessions() as session:
        cycle = session.get_one(Cycle, number)
        assert cycle.decision is not None
        assert cycle.decision["promote"]
        assert cycle.promoted is not pinned
        state = registry.find(session, "2").state
    assert state == (ModelState.CHALLENGER if pinned else ModelState.CHAMPION)
    if pinned:  # it may still be promoted by hand, once nothing is in the way
        _unpin(context, 1)
        with context.sessions.begin() as session:
            registry.promote(session, registry.find(session, "2"), "ada", {})
        assert _champion(context) == 2


@pytest.mark.parametrize("pinned", [True, False])
def test_another_training_leaves_a_pinned_champion(two: Context, pinned: bool) -> None:
    with two.sessions.begin() as session:
        registry.find(session, "1").reports = {"holdout": {"objects": 10, "found": 2}}
    if pinned:
        _pin(two, 1)
    with two.sessions.begin() as session:
        names = tuple(registry.require_champion(session).class_names)
        training = {"architecture": "ssdlite320_mobilenet_v3_large", "unreadable": []}
        reports = {"holdout": {"objects": 10, "found": 9}}
        session.add(DatasetVersion(id="d" * 64, file="none", images=1, boxes=1))
        session.flush()
        made = Trained("f" * 64, "models/f", names, "d" * 64, None, training, reports)
        registration.register_first(session, made)

    assert _champion(two) == (1 if pinned else 3)


def test_it_is_pinned_over_http(api: Context, client: httpx.Client) -> None:
    with api.sessions.begin() as session:
        add_champion(session, 1)
        session.add(make_model(2))

    told = client.post("/models/1/pin").json()
    assert told["pinned"], told
    assert [one["pinned"] for one in client.get("/models").json()["items"]] == [False, True]
    refused = client.post("/models/2/promote")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "model 1 is pinned" in refused.json()["message"]
    assert client.post("/models/2/pin").status_code == 409
    assert not client.post("/models/1/unpin").json()["pinned"]
    assert client.post("/models/2/promote").status_code == 200


def test_it_is_pinned_on_the_command_line(champion: CommandLine) -> None:
    assert "stays the champion" in champion.done("models", "pin", "1").out
    assert "champion, pinned" in champion.done("models", "list").out
    assert champion.done("models", "show", "1", "--json").json["pinned"]
    assert "pinned" in champion.refused("models", "rollback")
    champion.done("models", "unpin")
    assert "pinned" not in champion.done("models", "list").out


def test_an_admin_pins_by_a_button_and_nobody_is_shown_what_would_be_refused(
    sqlite_context: Context, served: tuple[Any, str]
) -> None:
    with sqlite_context.sessions.begin() as session:
        add_champion(session, 1)
        session.add(make_model(2))
    door = PageDoor(sqlite_context, *served)
    admin, viewer = door.as_("admin"), door.as_("viewer")
    assert "/models/1/pin" in admin.get("/models/1").text

    mine = {"csrf": admin.headers["X-CSRF-Token"]}
    assert admin.post("/models/1/pin", data=mine).status_code == 303

    assert "It is pinned" in viewer.get("/models/1").text
    assert 'action="/models/1/unpin"' not in viewer.get("/models/1").text
    assert "/models/rollback" not in admin.get("/models").text
    assert "/promote" not in admin.get("/models/2").text
    theirs = {"csrf": viewer.headers["X-CSRF-Token"]}
    assert viewer.post("/models/1/unpin", data=theirs).status_code == 403
    assert admin.post("/models/1/unpin", data=mine).status_code == 303
    assert 'action="/models/2/promote"' in admin.get("/models/2").text


def test_a_model_stands_beside_the_champion_by_class_and_by_mode(
    sqlite_context: Context, served: tuple[Any, str]
) -> None:
    with sqlite_context.sessions.begin() as session:
        champion = add_champion(session, 1)
        champion.reports = {"holdout": {"per_class50": {"car": 0.8, "bus": 0.5, "van": None}}}
        challenger = make_model(2)
        challenger.reports = {"holdout": {"per_class50": {"car": 0.7, "bus": 0.75, "tram": 0.4}}}
        session.add(challenger)
        session.flush()
        number, _ = add_gating_cycle(session, champion, challenger)
        cycle = session.get_one(Cycle, number)
        cycle.decision = {"promote": True, "checks": [], "against": champion.id}
        challenger.cycle_id = number
        for place, (before, after) in enumerate(((0.2, 0.6), (0.5, 0.25), (None, None)), 1):
            mode = ModeRow(
                name=f"missed car {place}", family="missed", label="car", opened_cycle_id=number
            )
            session.add(mode)
            session.flush()
            session.add(
                ModeSighting(
                    cycle_id=number, mode_id=mode.id, key=f"{place}", kind="false_negative",
                    size=4 * place, found_before=before, found_after=after,
                )
            )  # fmt: skip
    page = PageDoor(sqlite_context, *served).as_("viewer").get("/models/2").text

    classes, modes = page.split("<h2>By class</h2>")[1].split("<h2>By failure mode</h2>")
    modes = modes.split("<h2>What the gate said</h2>")[0]
    assert classes.index("<bdi>car</bdi>") < classes.index("<bdi>bus</bdi>")  # it got worse
    assert '<span class="badge bad">-0.100</span>' in classes
    assert '<span class="badge good">+0.250</span>' in classes
    assert "<bdi>tram</bdi>" in classes
    assert '<span class="badge bad">-25 %</span>' in modes
    assert '<span class="badge good">+40 %</span>' in modes
    assert "8 failures" in modes
    assert "missed car 3" not in modes  # nobody was asked about it


def test_a_table_of_many_classes_keeps_those_that_changed_most() -> None:
    def model(change: int) -> Model:
        figures = {f"class {n}": 0.5 + change * 0.001 * n for n in range(300)}
        return Model(reports={"holdout": {"per_class50": figures}})

    rows = comparison.by_class(model(0), model(-1))
    assert len(rows) == comparison.MOST
    assert rows[0].name == "class 299"
    assert {row.verdict for row in rows} == {"bad"}
