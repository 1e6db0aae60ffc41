"""The page of the plan in a real browser, and over HTTP by role and with many rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from services.api.app import create_app
from services.context import Context
from services.db.tables import Audit, Cycle, Decision, DecisionKind, Image, LabelTask, PlanRow, Unit
from services.models import registry
from services.selection import plans
from tests.services.browser import barriers, fits, person, until
from tests.services.builders import add_champion, add_holdout_image
from tests.services.pages import HOSTILE, add_field, sign_in
from tests.services.plan_project import copy_of, work
from tests.services.test_web_pages import Site


def test_a_curator_looks_at_the_plan_strikes_from_it_and_approves_what_is_left(
    planned: Context, tmp_path: Path, served: tuple[Any, str], browser: Any
) -> None:
    switch, url = served
    with copy_of(planned, tmp_path) as context:
        with context.sessions.begin() as session:
            add_holdout_image(session, label="disc")
        switch.app = create_app(context)
        cookie = sign_in(switch.app, "cora", "curator")
        with person(browser, url, cookie) as page:
            page.goto("/plan")
            page.locator("#plan", has_text="A worker computes").wait_for()
            work(context)
            page.locator("#plan[data-ready]").wait_for()
            assert barriers(page) == []
            assert fits(page)
            pictures = page.locator("#plan .gallery img")
            assert pictures.count() > 1
            pictures.first.scroll_into_view_if_needed()
            until(page, "document.querySelector('#plan .gallery img').naturalWidth > 0")

            page.locator("#plan .gallery summary").first.press("Enter")
            page.locator("#plan .gallery input[name=note]").first.fill("private ground")
            page.keyboard.press("Enter")
            page.locator("table", has_text="private ground").wait_for()
            page.locator("#plan", has_text="A worker computes").wait_for()  # the page has asked
            work(context)
            page.locator("#plan[data-ready]").wait_for()
            slider = page.locator("input[type=range]")
            slider.focus()
            slider.press("ArrowRight")
            assert page.locator("#budget-said").inner_text() == "945"
            page.locator("#plan", has_text="A worker computes the plan for 945").wait_for()
            page.goto("/plan")  # what is known is there at once
            assert page.locator("#plan[data-ready]", has_text="of 900").count() == 1
            page.on("dialog", lambda dialog: dialog.accept())
            page.locator("button", has_text="Approve").press("Enter")
            page.locator("h2", has_text="Cycle 1").wait_for()
        work(context)

        with context.sessions() as session:
            cycle = session.scalars(select(Cycle)).one()
            plan = session.get_one(PlanRow, cycle.plan_id)
            (struck,) = session.scalars(select(Decision))
            tasks = session.scalars(select(LabelTask).order_by(LabelTask.priority.desc())).all()
            approved = [one["image"] for one in plan.content["candidates"]]
            assert plan.budget_boxes == cycle.budget_boxes == 900
            late = session.scalars(select(Unit.result).where(Unit.kind == "plan").order_by(Unit.id))
            assert [one is not None and one["kept"] for one in late] == [True, True, False]
            assert [task.image_id for task in tasks] == approved
            assert struck.image_id not in approved
            trail = set(session.execute(select(Audit.action, Audit.actor, Audit.door)))
        assert ("decision.strike_image", "cora", "web") in trail
        assert ("cycle.start", "cora", "web") in trail


def by_hand(context: Context, images: int, text: str = "car") -> PlanRow:
    """A plan that is ready, of one mode with so many of the project's images."""
    with context.sessions.begin() as session:
        now = plans.standing(session, context)
        candidates = [
            {
                "image": f"{number:064x}", "score": 1.0, "mode": "ab", "share": text,
                "cost_boxes": 2, "reason": text, "failure": None, "said": [],
                "matches": [{"query": 0, "box": [1, 1, 9, 9], "similarity": 0.9}],
            }
            for number in range(images)
        ]  # fmt: skip
        mode = {
            "key": "ab", "id": None, "name": text, "family": "missed", "kind": "false_negative",
            "label": text, "state": "open", "why": text, "struck": False, "failures": 10_000,
            "exemplars": [], "weights": [1.0], "images": images, "boxes": 2 * images,
        }  # fmt: skip
        content = {
            "modes": [mode], "candidates": candidates, "images": images, "boxes": 2 * images,
            "shares": {text: images}, "frames_with_truth": 0, "frames_judging": 0, "scored": 1,
            "unlooked": 3, "note": "",
        }  # fmt: skip
        row = PlanRow(
            id=now.id,
            champion_id=registry.require_champion(session).id,
            policy=now.terms.policy,
            seed=now.terms.seed,
            budget_boxes=now.terms.budget_boxes,
            content=content,
            members={"ab": [f"{1:064x}"]},
        )
        session.add(row)
    return row


def test_a_viewer_sees_the_plan_and_no_button_that_would_be_refused(
    sqlite_context: Context, served: tuple[Any, str]
) -> None:
    add_field(sqlite_context, 2, HOSTILE)
    site = Site(sqlite_context, *served)
    viewer = site.as_("viewer")
    assert "a curator who opens this page" in viewer.get("/plan").text
    row = by_hand(sqlite_context, 2, HOSTILE)
    page = viewer.get("/plan").text
    assert "<form" in page
    assert "/plan/approve" not in page
    assert "/plan/strike" not in page
    assert "<script>alert" not in page
    for path in ("/plan/approve", "/plan/strike", "/plan/ask", "/decisions/1/undo"):
        assert viewer.post(path, data={"plan_id": row.id}).status_code == 403
    curator = site.as_("curator").get("/plan").text
    assert "/plan/approve" in curator
    with sqlite_context.sessions() as session:
        assert session.scalar(select(func.count()).where(Unit.kind == "plan")) == 0


def test_a_large_plan_takes_as_many_statements_as_a_small_one(
    context: Context, served: tuple[Any, str]
) -> None:
    add_field(context, 2)
    site = Site(context, *served)
    client = site.as_("curator")
    by_hand(context, 2)
    few = site.queries(client, "/plan")
    with context.sessions.begin() as session:
        row = session.scalars(select(PlanRow)).one()
        session.delete(row)
    by_hand(context, 3000)
    assert site.queries(client, "/plan") == few
    text = client.get("/plan").text
    assert text.count("/pictures/plan/") == 8
    assert "More of the 3000 images" in text
    alone = client.get("/plan", params={"mode": "ab"}).text
    assert alone.count("/pictures/plan/") == 300


def test_plans_and_decisions_over_http(api: Context, client: httpx.Client) -> None:
    with api.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
        image = session.scalars(select(Image.id)).first()
    absent = client.get("/plan").json()
    assert (absent["state"], absent["plan"]) == ("absent", None)
    assert client.get("/plan", params={"policy": "best"}).status_code == 422
    asked = client.post("/plan", json={"budget_boxes": 7}).json()
    assert (asked["state"], asked["budget_boxes"]) == ("computing", 7)
    assert client.post("/plan", json={"budget_boxes": 7}).json() == asked
    with api.sessions() as session:
        assert session.scalar(select(func.count()).where(Unit.kind == "plan")) == 1
    assert client.post(f"/plan/{'0' * 64}/approve").status_code == 404
    wanted = {"kind": DecisionKind.STRIKE_IMAGE, "image_id": image, "note": "blurred"}
    made = client.post("/decisions", json=wanted)
    assert made.status_code == 201
    number = made.json()["id"]
    assert client.post("/decisions", json={"kind": "merge"}).status_code == 422
    held = client.get("/decisions", params={"holding": True}).json()["items"]
    assert [one["id"] for one in held] == [number]
    undone = client.post(f"/decisions/{number}/undo").json()
    assert undone["undone_by"]
    assert client.get("/decisions", params={"holding": True}).json()["items"] == []
    assert [one["id"] for one in client.get("/decisions").json()["items"]] == [number]
