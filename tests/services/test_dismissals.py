"""Failures that a person says are none: by hand and over HTTP, and what scans make of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.context import Context
from services.cycle import dismissals, triggers
from services.db.tables import (
    Audit,
    Cycle,
    FailureRow,
    FailureState,
    Observation,
    Role,
)
from services.errors import NotFound
from services.selection.outlook import read_plan
from services.stages import evidence
from tests.services.api_server import error_of
from tests.services.builders import add_champion, make_failure, make_image
from tests.services.commands import CommandLine
from tests.services.field_frames import PHANTOM, Field, blind

MISSED = {"kind": "missed", **PHANTOM}


def dismiss(field: Field, kind: str = "false_negative") -> None:
    ids = [
        row.id
        for row in field.failures()
        if row.kind == kind and row.state not in ("dismissed", "withdrawn")
    ]
    with field.context.sessions.begin() as session:
        dismissals.dismiss(session, field.context.settings, ids, "test", "a reflection")


def find_two(context: Context) -> list[str]:
    """Two explained failures of the champion, one of them reported by an operator; their ids."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        session.add(image := make_image(7, Role.FIELD))
        session.flush()
        box = [1.0, 1.0, 20.0, 20.0]
        session.add(
            Observation(image_id=image.id, reports=[{"kind": "missed", "box": box, "label": "car"}])
        )
        rows = [
            make_failure(0xA1, image, champion, truth_index=None, source="operator"),
            make_failure(0xB2, image, champion, box=[30.0, 1.0, 60.0, 20.0]),
        ]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


# --- what scans make of it


def test_a_dismissed_report_is_not_found_again(field: Field) -> None:
    field.say(reports=[MISSED])
    field.scan()
    dismiss(field)
    assert field.reports() == [{**MISSED, "dismissed": True}]
    assert field.states() == [FailureState.DISMISSED]

    field.say(reports=[MISSED], objects=field.shown)  # sent again, by a client that is careful
    assert field.scan()[0]["failures"] == 0
    field.add_model(2, blind())
    field.promote(2)
    field.scan()

    assert [row.state for row in field.failures() if row.label == "square"] == ["dismissed"]


def test_a_loose_report_is_dismissed_as_it_was_paired(lite: Field) -> None:
    """The report overlaps the detection by less than half, which the project allows."""
    rules = lite.context.settings.failures.model_copy(update={"iou_threshold": 0.3})
    settings = lite.context.settings.model_copy(update={"failures": rules})
    context = lite.context
    lite.context = Context(settings, context.project, context.engine, context.sessions)
    x1, y1, x2, y2 = lite.shown[0]["box"]
    loose = [x1, y1, x2, y1 + 0.4 * (y2 - y1)]
    lite.say(reports=[{"kind": "false", "box": loose, "label": lite.shown[0]["label"]}])
    lite.scan()
    assert lite.states("false_positive") == [FailureState.FOUND]
    dismiss(lite, "false_positive")
    assert lite.reports()[0]["dismissed"] is True


def test_another_report_brings_it_back(lite: Field) -> None:
    lite.say(reports=[MISSED])
    lite.scan()
    dismiss(lite)
    x1, y1, x2, y2 = PHANTOM["box"]
    lite.say(reports=[{**MISSED, "box": [x1 + 2, y1, x2, y2]}])
    lite.scan()
    assert lite.states() == [FailureState.DISMISSED, FailureState.FOUND]

    false = {"kind": "false", **lite.shown[0]}
    lite.say(reports=[false])
    lite.scan()
    dismiss(lite, "false_positive")
    x1, y1, x2, y2 = lite.shown[0]["box"]
    lite.say(reports=[{**false, "box": [x1 + 2, y1, x2, y2]}])
    (result,) = lite.scan()
    assert result["returned"] == 1
    assert lite.states("false_positive") == [FailureState.FOUND]


def test_what_truth_says_stays_dismissed_until_the_truth_is_another(lite: Field) -> None:
    lite.say(objects=[*lite.shown[1:], PHANTOM])
    lite.scan()
    dismiss(lite)
    dismiss(lite, "false_positive")
    lite.say(reports=[MISSED])  # something else is said: the frame is looked at again
    lite.scan()
    by_truth = [row.state for row in lite.failures() if row.source == "truth"]
    assert by_truth == [FailureState.DISMISSED] * 2

    second = lite.add_model(2, blind())
    lite.promote(2)
    lite.scan()
    phantoms = [row for row in lite.failures() if row.box == PHANTOM["box"]]
    assert sorted((row.model_id, row.source, row.state) for row in phantoms) == [
        (model_id, source, state)
        for model_id in (lite.first.id, second.id)
        for source, state in (("operator", FailureState.FOUND), ("truth", FailureState.DISMISSED))
    ]

    x1, y1, x2, y2 = PHANTOM["box"]
    lite.say(objects=[*lite.shown[1:], {**PHANTOM, "box": [x1 + 9, y1, x2, y2]}])
    lite.scan()
    corrected = [row for row in lite.failures() if row.box[0] == x1 + 9]
    assert [row.state for row in corrected] == [FailureState.FOUND]


# --- where failures are counted, listed and selected


def test_a_dismissed_failure_is_neither_listed_nor_counted_nor_selected(
    sqlite_context: Context,
) -> None:
    context = sqlite_context
    first, second = find_two(context)
    with context.sessions.begin() as session:
        before = session.get_one(FailureRow, second).created_at - timedelta(hours=1)
        own = {"champion_id": f"{1:064x}", "created_at": before}
        session.add(cycle := Cycle(policy="e2x", budget_boxes=9, **own))
        session.flush()
        lacking = evidence.missing(context, f"{1:064x}", "new")
        assert sorted(lacking.failures[f"{7:064x}"]) == [first, second]
        dismissals.dismiss(session, context.settings, [first], "test")
        evidence.request(session, context, cycle.id, lacking)  # found before it was dismissed
        assert session.get_one(FailureRow, first).state == FailureState.DISMISSED
        session.get_one(FailureRow, second).state = FailureState.EXPLAINED
        session.flush()
        assert read_plan(session, context).failures_explained == 1
        assert triggers.new_failures(session) == 1
    assert evidence.missing(context, f"{1:064x}", "new").failures == {f"{7:064x}": [second]}


def test_all_or_none(sqlite_context: Context) -> None:
    first, _ = find_two(sqlite_context)
    with (
        sqlite_context.sessions.begin() as session,
        pytest.raises(NotFound, match="no failure nowhere: see `e2x failures list`"),
    ):
        dismissals.dismiss(session, sqlite_context.settings, [first, "nowhere"], "test")
    with sqlite_context.sessions() as session:
        assert session.get_one(FailureRow, first).state == FailureState.EXPLAINED
        assert session.scalars(select(Audit).where(Audit.action == "dismiss")).all() == []


def test_what_other_models_made_of_the_same_object_goes_with_it(sqlite_context: Context) -> None:
    first, second = find_two(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        session.get_one(FailureRow, second).place = first
        session.get_one(FailureRow, second).state = FailureState.FIXED
        dismissals.dismiss(session, sqlite_context.settings, [first], "test")
        assert session.get_one(FailureRow, second).state == FailureState.DISMISSED
        (audit,) = session.scalars(select(Audit).where(Audit.action == "dismiss"))
        assert audit.detail["same_place"] == [second]


# --- for people


def test_failures_are_dismissed_by_hand(line: CommandLine) -> None:
    with line.opened() as context:
        first, second = find_two(context)
    begin = first[:62] + "a"
    assert "several failures match" in line.refused("failures", "dismiss", "0000")
    assert "`e2x failures list`" in line.refused("failures", "dismiss", "ffff")

    said = line.done("failures", "dismiss", begin, "--note", "a reflection").out
    assert said.strip() == f"dismissed {first[:12]}"
    again = line.done("failures", "dismiss", first, second, "--json").json
    assert again == {"dismissed": [second], "dismissed_before": [first]}
    assert "was dismissed before" in line.done("failures", "dismiss", first).out

    assert line.done("failures", "list", "--json").json == []
    shown = line.done("failures", "list", "--state", "dismissed", "--json").json
    assert {row["id"] for row in shown} == {first, second}
    assert "dismissed" in line.done("failures", "show", first).out
    with line.opened() as context, context.sessions() as session:
        rows = session.scalars(select(Audit).where(Audit.action == "dismiss").order_by(Audit.id))
        told = [(row.door, row.subject, row.detail["note"], row.detail["from"]) for row in rows]
        assert told == [
            ("cli", f"failure:{first}", "a reflection", "explained"),
            ("cli", f"failure:{second}", "", "explained"),
        ]
        assert session.scalars(select(Observation)).one().reports[0]["dismissed"] is True


def test_failures_are_dismissed_over_http(client: httpx.Client, api: Context) -> None:
    first, second = find_two(api)
    answers = [client.post(f"/failures/{first}/dismiss", json={"note": "glare"}) for _ in range(2)]
    bare = client.post(f"/failures/{second}/dismiss")

    assert [answer.status_code for answer in (*answers, bare)] == [200] * 3
    assert answers[0].json() == answers[1].json()
    assert (bare.json()["id"], bare.json()["state"]) == (second, "dismissed")
    assert client.get("/failures").json()["items"] == []
    listed = client.get("/failures", params={"state": "dismissed"}).json()["items"]
    assert {row["id"] for row in listed} == {first, second}
    with api.sessions() as session:
        rows = session.scalars(select(Audit).where(Audit.action == "dismiss")).all()
        told = [(row.actor, row.door, row.detail["note"]) for row in rows]
    assert told == [("project token", "api", "glare"), ("project token", "api", "")]


@pytest.mark.parametrize("body", [{"why": "x"}, {"note": 3}, {"note": "x" * 2001}, []])
def test_a_malformed_dismissal_changes_nothing(
    client: httpx.Client, api: Context, body: Any
) -> None:
    first, _ = find_two(api)
    error_of(client.post(f"/failures/{first}/dismiss", json=body), 422, "invalid_request")
    missing = error_of(client.post("/failures/nowhere/dismiss"), 404, "not_found")
    assert "e2x failures list" in missing
    assert client.get(f"/failures/{first}").json()["state"] == "explained"
