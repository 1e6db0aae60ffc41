"""Whose an image is while pages to label on come, go, wish again and lose it."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.common.waiting import PATIENCE, wait_until
from services.context import Context
from services.db.base import utc_now
from services.db.tables import LabelTask
from tests.services.browser import person
from tests.services.label_page import answers_of, is_free, shown, site, states_of
from tests.services.pages import add_tasks, sign_in

__all__ = ["site"]


def test_a_draft_outlives_the_page(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    given_back = "409"  # what the page learns when it comes back to its lease
    with person(browser, url, sign_in(app), expected=(given_back,)) as page:
        page.goto("/label")
        shown(page, task)
        page.keyboard.press("n")
        page.goto("about:blank")
        wait_until(lambda: is_free(sqlite_context), 15, "it is given back")
        page.goto("/label")
        page.locator("#status", has_text="with your draft").wait_for()
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert len(answers_of(sqlite_context)[0].objects) == 2


class Late:
    """An application that hears one wish for a task only when it is told to."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.wishes = app, 0
        self.go_on, self.answered = threading.Event(), threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/tasks/lease"):
            return await self.app(scope, receive, send)
        self.wishes += 1
        if self.wishes != 2:
            return await self.app(scope, receive, send)
        told = [await receive()]
        await asyncio.to_thread(self.go_on.wait, 30)

        async def again() -> Message:
            return told.pop() if told else await receive()

        await self.app(scope, again, send)
        self.answered.set()


def test_a_wish_that_comes_after_its_page_has_gone_keeps_no_task(
    site: tuple[Any, str], served: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    late = served[0].app = Late(app)
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        shown(page, task)
        wait_until(lambda: late.wishes == 2, 15, "it wishes for the next image")
        page.goto("about:blank")
        wait_until(lambda: states_of(sqlite_context) == ["waiting"], 15, "it is given back")
        late.go_on.set()
        assert late.answered.wait(15 * PATIENCE)

    assert states_of(sqlite_context) == ["leased"]  # by a page that is gone,
    with sqlite_context.sessions() as session:
        until = session.scalars(select(LabelTask.lease_until)).one()
    assert until is not None
    assert until < utc_now() + timedelta(seconds=15)  # for seconds, not for a lease


def test_an_image_that_a_page_has_is_kept_for_as_long_as_a_lease(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    first, _ = add_tasks(sqlite_context, 2)

    def ends() -> list[float]:
        with sqlite_context.sessions() as session:
            of_tasks = session.scalars(select(LabelTask.lease_until)).all()
        return [(end - utc_now()).total_seconds() for end in of_tasks if end is not None]

    assert sqlite_context.settings.labels.lease_s > 60
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        shown(page, first)
        wait_until(lambda: sum(end > 30 for end in ends()) == 2, 15, "both are kept")


def test_two_who_label_never_have_the_same_image(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    add_tasks(sqlite_context, 6)
    with (
        person(browser, url, sign_in(app, "anna")) as anna,
        person(browser, url, sign_in(app, "bert")) as bert,
    ):
        anna.goto("/label")
        bert.goto("/label")
        for page in (anna, bert):
            page.locator("[data-do=submit]:enabled").wait_for()
        while len(answers_of(sqlite_context)) < 6:
            for page in (anna, bert):
                if page.locator("[data-do=submit]:enabled").count():
                    page.keyboard.press("Enter")
        for page in (anna, bert):
            page.locator("#status", has_text="No image waits").wait_for()

    answers = answers_of(sqlite_context)
    assert len({answer.image_id for answer in answers}) == len(answers) == 6
    assert {answer.author for answer in answers} == {"anna", "bert"}


def test_a_lease_is_renewed_while_somebody_works_and_not_for_whoever_has_left(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)

    def until() -> Any:
        with sqlite_context.sessions() as session:
            return session.get_one(LabelTask, task).lease_until

    with person(browser, url, sign_in(app)) as page:
        page.clock.install()
        page.goto("/label")
        shown(page, task)
        first = until()
        page.keyboard.press("n")
        with page.expect_response("**/renew"):
            page.clock.run_for(61_000)
        worked = until()
        page.clock.run_for(11 * 60_000)  # nobody touches anything
        page.wait_for_load_state("networkidle")
        idle = until()
        with page.expect_response("**/label/waiting"):
            page.evaluate("fetch('/label/waiting')")
        page.clock.run_for(5 * 60_000)
        page.wait_for_load_state("networkidle")

        assert worked > first
        assert until() == idle


def test_work_of_whoever_lost_the_lease_is_kept_and_told(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    with person(browser, url, sign_in(app), expected=("409",)) as page:
        page.goto("/label")
        shown(page, task)
        with sqlite_context.sessions.begin() as session:
            session.get_one(LabelTask, task).token += 1  # as a lease of somebody else does
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        page.locator("#notices", has_text="What you drew is kept in this browser").wait_for()
        kept = page.evaluate(
            "Object.keys(localStorage).filter(key => key.includes('draft')).length"
        )

    assert kept == 1
    assert answers_of(sqlite_context) == []
