"""Second looks in Label Studio, the real server: two people there, or one there and one here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from services.context import Context
from services.db import actors
from services.db.actors import Actor, Door
from services.db.tables import Audit, LabelTask, LookState, SecondLook, TaskState
from services.labeling import queue
from services.labeling.outcomes import Outcome
from tests.services.label_studio_server import Server, boxes, hand_in
from tests.services.pages import Door as Pages
from tests.services.test_label_studio import (
    CAR,
    OTHER,
    SIZE,
    Work,
    ask,
    connected,
    second_database,
    version_of,
)
from tests.services.test_label_studio import pictures as pictures
from tests.services.test_second_look import looked

pytestmark = pytest.mark.timeout(600)
ANNA, BERT = "anna@example.com", "bert@example.com"
NEAR = {**CAR, "box": [2.33, 3.0, 12.07, 11.9]}
"""The same car to whoever looks, IoU 0.94."""


def said(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the first and the second person see in the image of a task; in every other the same."""
    return [([CAR], [NEAR]), ([CAR], [OTHER]), ([], []), ([CAR, OTHER], [CAR])][number % 4]


def looks(context: Context) -> dict[int, SecondLook]:
    with context.sessions() as session:
        return {look.task_id: look for look in session.scalars(select(SecondLook))}


def settle_on_the_page(work: Work, pictures: Any) -> None:
    """A reviewer says of each dispute that the second is right."""
    cora = Pages(work.context, *pictures).as_("curator")
    csrf = cora.headers["X-CSRF-Token"]
    for number, look in looks(work.context).items():
        if look.state == LookState.DISPUTED:
            assert cora.get(f"/looks/{number}").status_code == 200
            done = cora.post(f"/looks/{number}/settle", data={"taken": "second", "csrf": csrf})
            assert done.status_code == 303, done.text


def by_api(context: Context, first: str, second: str) -> None:
    """The same answers by the same people through our own queue."""
    for person, side in ((first, 0), (second, 1)):
        while True:
            with context.sessions.begin() as session:
                tasks = queue.lease(session, person, 1, 600)
            if not tasks:
                break
            with context.sessions.begin() as session:
                task = tasks[0]
                queue.submit(session, context, task.id, task.token, said(task.id)[side], person)
    for number, look in looks(context).items():
        if look.state == LookState.DISPUTED:
            reviewer = actors.acting(Actor("curator", Door.WEB))
            with reviewer, context.sessions.begin() as session:
                queue.settle(session, context, number, "second")


@pytest.mark.parametrize("half", [False, True], ids=["both there", "one here"])
def test_two_answers_there_give_the_version_that_the_api_gives(
    sqlite_context: Context,
    tmp_path: Path,
    sqlite_url: str,
    label_studio_server: Server,
    people: tuple[httpx.Client, httpx.Client],
    pictures: Any,
    half: bool,
) -> None:
    context, count = looked(sqlite_context), 4
    ask(context, count)
    anna, bert = people
    first = "carla" if half else ANNA
    if half:  # on our own page, which sends the same to the same queue
        carla = Pages(context, *pictures)
        client = carla.as_("labeller")
        first = "labeller"
        held = client.post("/v1/tasks/lease", json={"owner": "x", "count": count}).json()["items"]
        for task in held:
            body = {"token": task["token"], "objects": said(task["id"])[0]}
            told = client.post(f"/v1/tasks/{task['id']}/submit", json=body).json()
            assert told["outcome"] == Outcome.SECOND_LOOK
    with connected(context, label_studio_server, pictures) as work:
        remote = work.remote
        assert len(remote) == count
        for number, one in remote.items():
            if not half:
                hand_in(anna, one, boxes(*said(number)[0], size=SIZE))
        if not half:
            done = work.sync()
            assert (done.answers.submitted, done.answers.undecided) == (count, count)
            assert {row.note for row in work.rows().values()} == {"waits for a second look"}
            # She is offered none of them again, and the second person all.
            project = next(iter(remote.values()))["project"]
            assert anna.get(f"/api/projects/{project}/next").status_code == 404
            assert bert.get(f"/api/projects/{project}/next").status_code == 200
        for number, one in remote.items():
            hand_in(bert, one, boxes(*said(number)[1], size=SIZE))
        done = work.sync()
        assert (done.answers.submitted, done.answers.undecided) == (count, count // 2)
        assert done.answers.problems == []
        states = sorted(look.state for look in looks(context).values())
        assert states == ["agreed"] * 2 + ["disputed"] * 2
        settle_on_the_page(work, pictures)
        again = work.sync(whole=True)
        assert (again.answers.submitted, again.answers.replaced) == (0, 0)
    with context.sessions() as session:
        trail = session.scalars(select(Audit.actor).where(Audit.action == "task.second_answer"))
        assert set(trail) == {BERT}

    alone = looked(make_context(tmp_path / "alone", second_database(sqlite_url, context)))
    ask(alone, count)
    by_api(alone, first, BERT)
    assert version_of(context) == version_of(alone)
    alone.engine.dispose()


def test_two_who_answer_before_an_exchange_are_both_heard(
    sqlite_context: Context,
    label_studio_server: Server,
    people: tuple[httpx.Client, httpx.Client],
    pictures: Any,
) -> None:
    context = looked(sqlite_context)
    ask(context, 3)
    anna, bert = people
    with connected(context, label_studio_server, pictures) as work:
        agreed, disputed, turned = work.remote.items()
        for person, car in ((anna, CAR), (bert, NEAR)):
            hand_in(person, agreed[1], boxes(car, size=SIZE))
        for person, car in ((bert, OTHER), (anna, CAR)):
            hand_in(person, disputed[1], boxes(car, size=SIZE))
        hand_in(anna, turned[1], boxes(CAR, size=SIZE, rotation=30))
        hand_in(bert, turned[1], boxes(CAR, size=SIZE))
        done = work.sync()
        assert (done.answers.submitted, done.answers.undecided) == (3, 2)
        assert "rotated by 30" in done.answers.problems[0].message
        found = looks(context)
        assert [found[n].state for n in (agreed[0], disputed[0])] == ["agreed", "disputed"]
        assert (found[disputed[0]].first_author, found[disputed[0]].second_author) == (BERT, ANNA)
        assert found[turned[0]].first_author == BERT
        (truth,) = work.stored(agreed[0])
        assert (truth.author, truth.objects[0]["box"]) == (ANNA, CAR["box"])

        # What two have agreed on is not undone by one of them.
        url = f"/api/tasks/{agreed[1]['id']}"
        theirs = next(
            one for one in work.admin.get(url).json()["annotations"] if one["result"][0]["value"]
        )
        new = boxes(OTHER, size=SIZE)
        changed = work.admin.patch(f"/api/annotations/{theirs['id']}/", json={"result": new})
        assert changed.is_success
        later = work.sync()
        assert "--replace" in later.answers.problems[0].message
        assert len(work.stored(agreed[0])) == 1
        with context.sessions() as session:
            assert session.get_one(LabelTask, disputed[0]).state == TaskState.DISPUTED
