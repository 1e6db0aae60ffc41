"""What pages tell: of one failure, one mode, the work, the settings, and the start page of all."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_model
from services.config.settings import PROJECT_FILE
from services.context import Context
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    DatasetVersion,
    FailureRow,
    Image,
    LabelTask,
    Model,
    Unit,
    UnitState,
)
from services.models import registry
from tests.services.pages import Door, add_field

FAILURE = f"{1:064x}"


@pytest.fixture
def door(sqlite_context: Context, served: tuple[Any, str]) -> Door:
    """A project with two failures, and all that hangs on them."""
    add_field(sqlite_context, 2)
    return Door(sqlite_context, *served)


def text_of(page: str) -> str:
    """Without markup, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_failure_leads_back_to_the_drive_and_on_to_the_model(
    door: Door, sqlite_context: Context
) -> None:
    with sqlite_context.sessions.begin() as session:
        cycle = session.scalars(select(Cycle)).one()
        challenger = session.scalars(select(Model).where(Model.number == 2)).one()
        version = session.scalars(select(DatasetVersion)).first()
        assert version is not None
        frame = session.scalars(select(Image).where(Image.role == "field")).one()
        frame.group = "drive seven"
        champion = registry.require_champion(session)
        champion.dataset_version_id = version.id
        cycle.state, cycle.challenger_id, cycle.promoted = CycleState.DONE, challenger.id, False
        cycle.dataset_version_id = version.id
        task = session.scalars(select(LabelTask).order_by(LabelTask.id)).first()
        assert task is not None
        whose = Annotation.image_id == task.image_id
        answer = session.scalars(select(Annotation).where(whose)).one()
        answer.author, task.state, task.annotation_id = "lea", "submitted", answer.id
    page = door.as_("viewer").get(f"/failures/{FAILURE}").text
    back, on = page.split("<h2>Where it came from</h2>")[1].split("<h2>What came of it</h2>")

    assert "drive drive seven" in text_of(back)
    assert "Reported by car" in text_of(back)
    assert re.search(r"revision \d+ with 0 objects, by car", text_of(back))
    assert f'href="/data#{version.id[:8]}"' in back
    assert "1 boxes by lea" in text_of(on)
    assert 'href="/models/2"' in on
    assert "not promoted" in on
    assert "Region that hurts" in page


def test_a_mode_tells_its_exemplars_its_size_how_it_came_so_and_what_was_asked_for(
    door: Door,
) -> None:
    page = door.as_("viewer").get("/modes/1").text

    assert f'href="/failures/{FAILURE}"' in page.split("<h2>Exemplars</h2>")[1]
    assert "<svg" in page.split("<h2>Exemplars</h2>")[0]  # its size by cycle
    steps = page.split("<h2>How it came to its state</h2>")[1]
    assert "cycle 1: open car" in text_of(steps)
    asked = page.split("<h2>What was asked for</h2>")[1]
    assert "/pictures/candidate/1" in asked
    assert "cycle 1, waits for an answer" in text_of(asked)


def test_a_dead_unit_shows_its_traceback_and_is_tried_again_by_a_button(
    door: Door, sqlite_context: Context
) -> None:
    curator = door.as_("curator")
    page = curator.get("/work?state=dead").text
    number = re.search(r'action="/work/(\d+)/redrive"', page)
    assert number is not None
    assert "Traceback" in page

    told = {"csrf": curator.headers["X-CSRF-Token"]}
    assert curator.post(f"/work/{number[1]}/redrive", data=told).status_code == 303

    with sqlite_context.sessions() as session:
        assert session.get_one(Unit, int(number[1])).state == UnitState.QUEUED


def test_settings_say_where_each_comes_from(
    door: Door, sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sqlite_context.project.root / PROJECT_FILE).write_text("[labels]\nlease_s = 77.0\n")
    monkeypatch.setenv("E2X_LABELS__SECOND_LOOK", "0.25")
    rows = re.findall(
        r"<tr><td><code>(labels\.\w+)</code>.*?<span class=\"badge \w+\">([\w.]+)</span>",
        door.as_("viewer").get("/settings").text,
    )

    said = dict(rows)
    assert said["labels.lease_s"] == PROJECT_FILE
    assert said["labels.second_look"] == "environment"
    assert said["labels.second_look_iou"] == "default"


def test_the_start_page_sets_the_champion_against_the_one_before(
    door: Door, sqlite_context: Context
) -> None:
    with sqlite_context.sessions.begin() as session:
        before = registry.require_champion(session)
        before.reports = {"holdout": {"map": 0.4, "map50": 0.5, "missed": 40}}
        after = make_model(90)
        after.reports = {"holdout": {"map": 0.6, "map50": 0.7, "missed": 20}}
        session.add(after)
        session.flush()
        registry.promote(session, after, "gate", {})
        fixed = session.get_one(FailureRow, f"{2:064x}")
        fixed.state, fixed.fixed_by = "fixed", after.id
    page = text_of(door.as_("viewer").get("/").text)

    assert "Champion: model 90 against model 1" in page
    assert "Holdout AP50 0.500 → 0.700" in page
    assert "images to label" in page
    assert "Cycle 1 labelling" in page
    assert "parked" in page
    assert "2 in" in page
    assert "1 fixed" in page
