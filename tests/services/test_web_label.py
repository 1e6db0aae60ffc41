"""The page to label on, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from benchmarks.common.waiting import wait_until
from services.context import Context
from services.db.tables import Image, LabelTask
from tests.services.browser import person
from tests.services.label_page import answers_of, shown, site, states_of
from tests.services.pages import add_tasks, sign_in

__all__ = ["site"]

TASKS = 10


def test_ten_tasks_are_answered_by_keyboard_alone(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    tasks = add_tasks(sqlite_context, TASKS)
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        for number in tasks:
            shown(page, number)
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

    answers = answers_of(sqlite_context)
    assert states_of(sqlite_context) == ["submitted"] * TASKS
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
        shown(page, first)
        wait_until(lambda: states_of(sqlite_context)[1] == "leased", 15, "the next one is leased")
        page.wait_for_load_state("networkidle")
        page.context.set_offline(True)
        page.keyboard.press("n")
        page.keyboard.press("Enter")
        shown(page, second)  # it was there already
        page.keyboard.press("2")
        page.keyboard.press("n")
        assert "1 wait" in page.locator("#unsent").inner_text()
        assert answers_of(sqlite_context) == []
        page.context.set_offline(False)
        wait_until(lambda: len(answers_of(sqlite_context)) == 1, 20, "the answer is sent")

    (answer,) = answers_of(sqlite_context)
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
        shown(page, first)
        page.keyboard.press("Enter")
        shown(page, second)
        page.locator("#unsent:empty").wait_for(state="attached")
        assert lost

    assert len(answers_of(sqlite_context)) == 1
    assert states_of(sqlite_context)[0] == "submitted"


def test_why_it_was_asked_for_is_shown_and_the_next_image_is_loaded_meanwhile(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    first, second = add_tasks(sqlite_context, 2, matches=[{"box": [10.0, 10.0, 50.0, 50.0]}])
    loaded: list[str] = []
    with person(browser, url, sign_in(app)) as page:
        page.on("request", lambda one: loaded.append(one.url) if "/image/" in one.url else None)
        page.goto("/label")
        shown(page, first)
        wait_until(lambda: states_of(sqlite_context) == ["leased"] * 2, 15, "the next one is held")
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
        shown(page, second)
        assert states_of(sqlite_context)[0] == "skipped"

    assert len(loaded) == len(set(loaded)) == 2  # none is asked for when its turn comes


def test_a_box_is_drawn_moved_and_sized_by_mouse_and_rejecting_asks_for_a_reason(
    site: tuple[Any, str], sqlite_context: Context, browser: Any
) -> None:
    app, url = site
    first, second = add_tasks(sqlite_context, 2)
    with person(browser, url, sign_in(app)) as page:
        page.goto("/label")
        shown(page, first)
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
        shown(page, second)
        page.keyboard.press("r")
        page.locator("#reject-note").fill("black")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    (answer,) = answers_of(sqlite_context)
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
        shown(page, task)
        page.keyboard.press(".")
        page.keyboard.press("x")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="Press Enter again").wait_for()
        assert answers_of(sqlite_context) == []
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert answers_of(sqlite_context)[0].objects == []


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
        shown(page, task)
        page.keyboard.press("Enter")
        page.locator("#status", has_text="unknown class").wait_for()
        page.keyboard.press(".")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert [entry["label"] for entry in answers_of(sqlite_context)[0].objects] == ["bus"]


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
        shown(page, task)
        page.keyboard.press("Enter")
        page.locator("#status", has_text="No image waits").wait_for()

    assert len(answers_of(sqlite_context)) == 1


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

    assert answers_of(sqlite_context) == []
    assert states_of(sqlite_context) == ["skipped"]
