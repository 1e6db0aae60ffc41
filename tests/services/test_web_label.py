"""The page to label on, in a real browser."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from sqlalchemy import select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.common.waiting import wait_until
from services.api.app import create_app
from services.context import Context
from services.db.base import utc_now
from services.db.tables import Annotation, Image, LabelTask
from tests.services.browser import person
from tests.services.pages import add_tasks, sign_in

TASKS = 10


@pytest.fixture
def site(sqlite_context: Context, served: tuple[Any, str]) -> tuple[Any, str]:
    """The application with ten tasks, and where it listens."""
    switch, url = served
    switch.app = create_app(sqlite_context)
    return switch.app, url


def _answers(context: Context) -> list[Annotation]:
    with context.sessions() as session:
        return list(session.scalars(select(Annotation).order_by(Annotation.id)))


def _states(context: Context) -> list[str]:
    with context.sessions() as session:
        return list(session.scalars(select(LabelTask.state).order_by(LabelTask.id)))


def _is_free(context: Context) -> bool:
    """Whether somebody else may have the only task: its page may have wished again, too late."""
    with context.sessions() as session:
        (task,) = session.scalars(select(LabelTask))
        return task.lease_until is None or task.lease_until < utc_now()


def _shown(page: Any, number: int) -> None:
    page.locator("#status", has_text=f"Image {number}").wait_for()
    page.locator("[data-do=submit]:enabled").wait_for()


def test_ten_tasks_are_answered_by_keyboard_alone(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    tasks = add_tasks(sqlite_context, TASKS)
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        for number in tasks:
            _shown(page, number)
            press = page.keyboard.press
            press("n")  # a box in the middle,
            press("2")  # a bus,
            press("ArrowLeft")
            press("Shift+ArrowDown")
            press("d")  # copied
            press("x")  # and gone again,
            press("z")
            press("y")
            press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()
        assert page.locator("#done").inner_text() == str(TASKS)

    answers = _answers(sqlite_context)
    assert _states(sqlite_context) == ["submitted"] * TASKS
    assert {answer.author for answer in answers} == {"anna"}
    assert [answer.objects for answer in answers] == [
        [
            {"box": [20.0, 20.0, 60.0, 50.0], "label": "car", "ignore": False},
            {"box": [63.0, 45.0, 93.0, 77.0], "label": "bus", "ignore": False},
        ]
    ] * TASKS


def test_an_answer_given_without_a_connection_is_sent_when_it_is_back(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    first, second, _ = add_tasks(sqlite_context, 3)
    with person(browser, url, sign_in(app), expected=("ERR_INTERNET_DISCONNECTED",)) as page:
        page.goto("/label")
        _shown(page, first)
        wait_until(lambda: _states(sqlite_context)[1] == "leased", 15, "the next one is leased")
        page.wait_for_load_state("networkidle")
        page.context.set_offline(True)
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        _shown(page, second)  # it was there already
        page.keyboard.press("2")
        page.keyboard.press("n")
        assert "1 wait" in page.locator("#unsent").inner_text()
        assert _answers(sqlite_context) == []
        page.context.set_offline(False)
        wait_until(lambda: len(_answers(sqlite_context)) == 1, 20, "the answer is sent")

    (answer,) = _answers(sqlite_context)
    assert len(answer.objects) == 2


def test_an_answer_whose_receipt_is_lost_is_stored_once(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    first, second = add_tasks(sqlite_context, 2)
    with person(browser, url, sign_in(app), expected=("ERR_FAILED",)) as page:
        lost: list[str] = []

        def lose(route: Any) -> None:
            if lost:
                route.continue_()
                return
            lost.append(route.request.url)
            route.fetch()  # the server has it,
            route.abort()  # the page never hears of it

        page.route("**/submit", lose)
        page.goto("/label")
        _shown(page, first)
        page.keyboard.press("Enter")
        _shown(page, second)
        page.locator("#unsent:empty").wait_for(state="attached")
        assert lost

    assert len(_answers(sqlite_context)) == 1
    assert _states(sqlite_context)[0] == "submitted"


def test_a_draft_outlives_the_page(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    given_back = "409"  # what the page learns when it comes back to its lease
    with person(browser, url, sign_in(app), expected=(given_back,)) as page:
        page.goto("/label")
        _shown(page, task)
        page.keyboard.press("n")
        page.goto("about:blank")
        wait_until(lambda: _is_free(sqlite_context), 15, "it is given back")
        page.goto("/label")
        page.locator("#status", has_text="with your draft").wait_for()
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert len(_answers(sqlite_context)[0].objects) == 2


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
        _shown(page, task)
        wait_until(lambda: late.wishes == 2, 15, "it wishes for the next image")
        page.goto("about:blank")
        wait_until(lambda: _states(sqlite_context) == ["waiting"], 15, "it is given back")
        late.go_on.set()
        assert late.answered.wait(15)

    assert _states(sqlite_context) == ["leased"]  # by a page that is gone,
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
        _shown(page, first)
        wait_until(lambda: sum(end > 30 for end in ends()) == 2, 15, "both are kept")


def test_why_it_was_asked_for_is_shown_and_the_next_image_is_loaded_meanwhile(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    first, second = add_tasks(sqlite_context, 2, matches=[{"box": [10.0, 10.0, 50.0, 50.0]}])
    loaded: list[str] = []
    with person(browser, url, sign_in(app)) as page:
        page.on("request", lambda one: loaded.append(one.url) if "/image/" in one.url else None)
        page.goto("/label")
        _shown(page, first)
        wait_until(lambda: _states(sqlite_context) == ["leased"] * 2, 15, "the next one is held")
        assert page.locator("#why-text").inner_text() == "resembles a missed car"
        assert "mode missed car 1" in page.locator("#why-facts").inner_text()
        assert page.locator("#stage .asked").count() == 1
        assert page.locator("#of-whom").inner_text() == (
            "0 yours (green), 1 proposed (yellow, dashed)"
        )
        page.keyboard.press("n")
        assert "1 yours (green), 1 proposed" in page.locator("#of-whom").inner_text()
        assert page.locator("#stage g.own").count() == page.locator("#stage g.model").count() == 1
        page.keyboard.press("w")
        assert page.locator("#stage .asked").count() == 0
        assert page.locator("#why").is_hidden()
        page.keyboard.press("s")
        _shown(page, second)
        assert _states(sqlite_context)[0] == "skipped"

    assert len(loaded) == len(set(loaded)) == 2  # none is asked for when its turn comes


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
        while len(_answers(sqlite_context)) < 6:
            for page in (anna, bert):
                if page.locator("[data-do=submit]:enabled").count():
                    page.keyboard.press("Enter")
        for page in (anna, bert):
            page.locator("#status", has_text="No image waits").wait_for()

    answers = _answers(sqlite_context)
    assert len({answer.image_id for answer in answers}) == len(answers) == 6
    assert {answer.author for answer in answers} == {"anna", "bert"}


def test_a_box_is_drawn_moved_and_sized_by_mouse_and_rejecting_asks_for_a_reason(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    first, second = add_tasks(sqlite_context, 2)
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        _shown(page, first)
        frame = page.locator("#stage svg").bounding_box()
        scale = frame["width"] / 160

        def drag(*points: tuple[float, float]) -> None:
            for number, (x, y) in enumerate(points):
                page.mouse.move(frame["x"] + x * scale, frame["y"] + y * scale)
                if not number:
                    page.mouse.down()
            page.mouse.up()

        drag((80, 60), (90, 70), (120, 100))  # drawn
        drag((100, 80), (105, 85), (110, 90))  # moved by 10
        drag((130, 110), (135, 112), (140, 115))  # its corner by 10 and 5
        page.keyboard.press("Enter")
        _shown(page, second)
        page.keyboard.press("r")
        page.locator("#reject-note").fill("black")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    (answer,) = _answers(sqlite_context)
    assert answer.objects[1]["box"] == pytest.approx([90, 70, 140, 115], abs=1)
    with sqlite_context.sessions() as session:
        task = session.get_one(LabelTask, second)
        assert (task.state, task.note) == ("rejected", "black")


def test_nothing_is_said_to_be_there_only_by_a_second_press(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        _shown(page, task)
        page.keyboard.press(".")
        page.keyboard.press("x")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="Press Enter again").wait_for()
        assert _answers(sqlite_context) == []
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert _answers(sqlite_context)[0].objects == []


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
        _shown(page, task)
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


def test_an_answer_that_is_not_taken_stays_to_be_mended(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    with sqlite_context.sessions.begin() as session:
        session.get_one(LabelTask, task).prelabels = [
            {"box": [20.0, 20.0, 60.0, 50.0], "label": "horse", "score": 0.7}
        ]
    with person(browser, url, sign_in(app), expected=("422",)) as page:
        page.goto("/label")
        _shown(page, task)
        page.keyboard.press("Enter")
        page.locator("#status", has_text="unknown class").wait_for()
        page.keyboard.press(".")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert [entry["label"] for entry in _answers(sqlite_context)[0].objects] == ["bus"]


def test_work_of_whoever_lost_the_lease_is_kept_and_told(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    with person(browser, url, sign_in(app), expected=("409",)) as page:
        page.goto("/label")
        _shown(page, task)
        with sqlite_context.sessions.begin() as session:
            session.get_one(LabelTask, task).token += 1  # as a lease of somebody else does
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        page.locator("#notices", has_text="What you drew is kept in this browser").wait_for()
        kept = page.evaluate(
            "Object.keys(localStorage).filter(key => key.includes('draft')).length"
        )

    assert kept == 1
    assert _answers(sqlite_context) == []


def test_a_picture_that_no_browser_reads_can_be_labelled(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    with sqlite_context.sessions.begin() as session:
        image = session.get_one(Image, session.get_one(LabelTask, task).image_id)
        path = sqlite_context.project.images / image.file
        with Pillow.open(path) as picture:  # under a name that is no hash of other bytes
            picture.save(path.with_name("picture.tiff"))
        path.unlink()
        image.file = str(Path(image.file).with_name("picture.tiff"))
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        _shown(page, task)
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert len(_answers(sqlite_context)) == 1


def test_a_picture_that_is_lost_is_never_called_empty(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    (task,) = add_tasks(sqlite_context, 1)
    with sqlite_context.sessions.begin() as session:
        image = session.get_one(Image, session.get_one(LabelTask, task).image_id)
        (sqlite_context.project.images / image.file).unlink()
    with person(browser, url, sign_in(app), expected=("404",)) as page:
        page.goto("/label")
        page.locator("#status", has_text="could not be loaded").wait_for()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.keyboard.press("s")
        page.locator("#status", has_text="No image waits").wait_for()

    assert _answers(sqlite_context) == []
    assert _states(sqlite_context) == ["skipped"]
