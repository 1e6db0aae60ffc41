"""Whatever door a cycle is labelled through, its dataset version is that of the API's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from services.context import Context
from services.db.tables import Annotation, LabelTask, TaskState
from tests.services.browser import person
from tests.services.label_studio_server import Server, boxes, hand_in
from tests.services.pages import Door, sign_in
from tests.services.test_label_studio import (
    SIZE,
    ask,
    connected,
    said,
    second_database,
    version_of,
)

TASKS = 6
WAYS = (
    (".", "x", "Enter", "Enter"),  # nothing is there
    ("Enter",),  # what is proposed is right
    ("n", "Control+ArrowLeft", "Shift+ArrowDown", "Enter"),  # one more
    (".", "d", "ArrowRight", "Enter"),  # two beside each other
)


def label_on_the_page(browser: Any, url: str, cookie: str, tasks: list[int]) -> None:
    """Answer these tasks by keyboard, each in another way."""
    with person(browser, url, cookie) as page:
        page.goto("/label")
        for place, number in enumerate(tasks):
            page.locator("#status", has_text=f"Image {number}").wait_for()
            page.locator("[data-do=submit]:enabled").wait_for()
            for key in WAYS[place % len(WAYS)]:
                page.keyboard.press(key)
        page.locator("#status", has_text="No image waits").wait_for()


def version_by_api(context: Context, alone: Context, served: Any) -> str:
    """The version of another project whose images are answered alike over HTTP."""
    with context.sessions() as session:
        said_of = {row.image_id: row.objects for row in session.scalars(select(Annotation))}
    ask(alone, TASKS)
    client = Door(alone, *served).as_("labeller")
    body = {"owner": "x", "count": TASKS}
    for task in client.post("/v1/tasks/lease", json=body).json()["items"]:
        answer = {"token": task["token"], "objects": said_of[task["image_id"]]}
        done = client.post(f"/v1/tasks/{task['id']}/submit", json=answer)
        assert done.status_code == 200, done.text
    return version_of(alone)


def test_a_cycle_labelled_on_the_page_gives_the_version_that_the_api_gives(
    sqlite_context: Context,
    served: tuple[Any, str],
    browser: Any,
    tmp_path: Path,
    sqlite_url: str,
) -> None:
    context = sqlite_context
    ask(context, TASKS)
    door = Door(context, *served)
    label_on_the_page(browser, door.url, sign_in(door.app), list(range(1, TASKS + 1)))
    version = version_of(context)
    alone = make_context(tmp_path / "alone", second_database(sqlite_url, context))
    assert version_by_api(context, alone, served) == version
    with context.sessions() as session:
        counts = {len(row.objects) for row in session.scalars(select(Annotation))}
    assert counts == {0, 1, 2}
    alone.engine.dispose()


@pytest.mark.timeout(600)
def test_a_cycle_labelled_half_there_and_half_on_the_page_gives_it_too(
    sqlite_context: Context,
    served: tuple[Any, str],
    browser: Any,
    tmp_path: Path,
    sqlite_url: str,
    label_studio_server: Server,
    people: tuple[httpx.Client, httpx.Client],
) -> None:
    context = sqlite_context
    ask(context, TASKS)
    with connected(context, label_studio_server, served, at_once=TASKS // 2) as work:
        there = work.remote
        with context.sessions() as session:
            waiting = select(LabelTask.id).where(LabelTask.state == TaskState.WAITING)
            here = list(session.scalars(waiting.order_by(LabelTask.priority.desc())))
        assert (len(there), len(here)) == (TASKS // 2, TASKS // 2)
        for place, (number, one) in enumerate(there.items()):
            hand_in(people[place % 2], one, boxes(*said(number), size=SIZE))
        label_on_the_page(browser, served[1], sign_in(served[0].app), here)
        assert work.sync().answers.submitted == len(there)
    version = version_of(context)
    alone = make_context(tmp_path / "alone", second_database(sqlite_url, context))
    assert version_by_api(context, alone, served) == version
    alone.engine.dispose()
