"""Second looks: two people, neither sees the other, nothing undecided is learnt from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.waiting import PATIENCE
from services.api.app import create_app
from services.config.setting_groups import LabelSettings
from services.context import Context
from services.cycle import cycles
from services.db import actors
from services.db.actors import Actor, Door
from services.db.tables import Annotation, Cycle, LabelTask, LookState, SecondLook, TaskState
from services.errors import Conflict, LeaseLost, NotFound
from services.labeling import queue, second_look
from services.labeling.coco import export_coco, import_coco
from tests.services.accounts import trail
from tests.services.browser import barriers, person, until
from tests.services.label_queue import CAR, TASKS, add_labelling, annotations, answered, lease
from tests.services.pages import HOSTILE, add_tasks, sign_in
from tests.services.test_web_pages import Site

NEAR = {**CAR, "box": [2, 3, 12, 12]}
"""Of the same car, IoU 0.89."""
FAR = {**CAR, "box": [2, 3, 12, 19]}
"""IoU 0.5."""


def looked(context: Context, share: float = 1.0) -> Context:
    """The same project with a share of second looks."""
    labels = context.settings.labels.model_copy(update={"second_look": share})
    settings = context.settings.model_copy(update={"labels": labels})
    return replace(context, settings=settings)


@pytest.fixture
def twice(waiting: Context) -> Context:
    """A cycle of six tasks, each of which two people answer."""
    return looked(waiting)


def answer(
    context: Context, who: str, *objects: dict[str, Any], task: LabelTask | None = None
) -> Annotation | None:
    """Lease the most urgent task that one may have and answer it."""
    task = task or lease(context, who)[0]
    with context.sessions.begin() as session:
        return queue.submit(session, context, task.id, task.token, objects, who)


def settle(context: Context, task_id: int, taken: Any, who: str = "cora", **more: Any) -> None:
    with actors.acting(Actor(who, Door.WEB)), context.sessions.begin() as session:
        queue.settle(session, context, task_id, taken, **more)


def state(context: Context, task_id: int) -> tuple[str, str]:
    with context.sessions() as session:
        look = session.get_one(SecondLook, task_id)
        return session.get_one(LabelTask, task_id).state, look.state


def test_a_task_goes_to_a_second_person_never_to_the_first_again(twice: Context) -> None:
    assert answer(twice, "anna", CAR) is None
    assert annotations(twice) == []
    mine = lease(twice, "Anna", TASKS)
    assert len(mine) == TASKS - 1
    (theirs,) = lease(twice, "bert", TASKS)
    assert theirs.id not in {task.id for task in mine}
    stored = answer(twice, "bert", NEAR, task=theirs)
    assert stored is not None
    assert (stored.author, stored.objects[0]["box"]) == ("anna", CAR["box"])
    assert state(twice, theirs.id) == (TaskState.SUBMITTED, LookState.AGREED)


def test_an_answer_sent_once_more_is_the_same_answer(twice: Context) -> None:
    (first,) = lease(twice, "anna")
    for _ in range(2):
        assert answer(twice, "anna", CAR, task=first) is None
    with pytest.raises(Conflict, match="second person"):
        answer(twice, "anna", FAR, task=first)
    (second,) = lease(twice, "bert")
    assert second.id == first.id
    stored = {answer(twice, "bert", NEAR, task=second) for _ in range(2)}
    assert {one.id for one in stored if one is not None} == {annotations(twice)[0].id}
    assert len(annotations(twice)) == 1


def test_what_differs_is_in_no_dataset_until_a_curator_settles_it(twice: Context) -> None:
    answer(twice, "anna", CAR)
    (task,) = lease(twice, "bert")
    assert answer(twice, "bert", FAR, task=task) is None
    assert state(twice, task.id) == (TaskState.DISPUTED, LookState.DISPUTED)
    assert annotations(twice) == []
    assert task.id not in {one.id for one in lease(twice, "carl", TASKS)}
    with pytest.raises(LeaseLost), twice.sessions.begin() as session:
        queue.submit(session, twice, task.id, task.token + 1, [CAR], "bert")
    for who in ("anna", "Bert"):
        with pytest.raises(Conflict, match="one of the two answers is yours"):
            settle(twice, task.id, "first", who)
    settle(twice, task.id, "second", note="the mirror belongs to it")
    assert trail(twice)[-2:] == ["task.settle", "task.answer"]
    (truth,) = annotations(twice)
    assert (truth.author, truth.objects[0]["box"]) == ("bert", FAR["box"])
    assert state(twice, task.id) == (TaskState.SUBMITTED, LookState.SETTLED)
    with pytest.raises(Conflict, match="settled already"):
        settle(twice, task.id, "first")


def test_a_reviewer_may_answer_otherwise_or_reject(twice: Context) -> None:
    for boxes, taken in (([NEAR], "other"), ([], "reject")):
        answer(twice, "anna", CAR)
        (task,) = lease(twice, "bert")
        answer(twice, "bert", FAR, task=task)
        settle(twice, task.id, taken, objects=boxes)
    (truth,) = annotations(twice)
    assert (truth.author, truth.objects[0]["box"]) == ("cora", NEAR["box"])
    assert state(twice, task.id) == (TaskState.REJECTED, LookState.SETTLED)


def test_a_second_person_who_skips_leaves_it_to_a_curator(twice: Context) -> None:
    answer(twice, "anna", CAR)
    (task,) = lease(twice, "bert")
    with twice.sessions.begin() as session:
        queue.skip(session, twice, task.id, task.token, "too dark")
    assert state(twice, task.id) == (TaskState.DISPUTED, LookState.DISPUTED)
    with pytest.raises(Conflict, match="no second answer"):
        settle(twice, task.id, "second")
    settle(twice, task.id, "first")
    assert annotations(twice)[0].author == "anna"


def test_a_cycle_waits_for_what_is_disputed_and_closes_it_when_told_to_go_on(
    twice: Context,
) -> None:
    for _ in range(TASKS):
        answer(twice, "anna", CAR)
    tasks = lease(twice, "bert", TASKS)
    for number, task in enumerate(tasks):
        answer(twice, "bert", FAR if number < 2 else NEAR, task=task)
    with twice.sessions() as session:
        assert session.scalars(select(Cycle.state)).one() == "labelling"
    with twice.sessions.begin() as session:
        cycles.train_with_what_is_there(session, twice, 1)
    assert len(annotations(twice)) == TASKS - 2
    settle(twice, tasks[0].id, "first")  # late, as an answer may be
    assert len(annotations(twice)) == TASKS - 1


def test_the_first_answer_is_kept_where_nobody_came_before_the_cycle_went_on(
    twice: Context,
) -> None:
    (task,) = lease(twice, "anna")
    answer(twice, "anna", CAR, task=task)
    with twice.sessions() as session, pytest.raises(NotFound):
        second_look.find(session, task.id)  # nobody sees it as long as a second may answer
    answer(looked(twice, 0), "anna", CAR)  # another one, and the cycle has something to train on
    with twice.sessions.begin() as session:
        cycles.train_with_what_is_there(session, twice, 1)
    with twice.sessions() as session:
        assert [one.task_id for one in session.scalars(second_look.to_settle())] == [task.id]
    settle(twice, task.id, "first")
    assert [one.image_id == task.image_id for one in annotations(twice)] == [False, True]


def test_the_share_decides_and_always_takes_the_same_tasks(twice: Context) -> None:
    tasks = [LabelTask(cycle_id=1, image_id=f"{number:064x}") for number in range(2000)]
    few = {one.image_id for one in tasks if second_look.is_chosen(0.1, one)}
    more = {one.image_id for one in tasks if second_look.is_chosen(0.3, one)}
    assert 140 < len(few) < 260
    assert few < more
    assert not any(second_look.is_chosen(0.0, one) for one in tasks)
    assert all(second_look.is_chosen(1.0, one) for one in tasks)
    assert LabelSettings().second_look == 0


def test_answers_from_a_file_are_looked_at_twice_too(twice: Context) -> None:
    with twice.sessions() as session:
        document = answered(export_coco(session)[0])
    first = import_coco(twice, document, "anna", take_untouched=True)
    assert (first.submitted, first.problems) == (TASKS, [])
    assert annotations(twice) == []
    again = import_coco(twice, document, "anna", take_untouched=True)
    assert (again.submitted, again.unchanged) == (0, TASKS)
    other = {**document, "annotations": document["annotations"][1:]}
    mixed = import_coco(twice, other, "bert", take_untouched=True, take_empty=True)
    assert mixed.problems == []
    assert len(annotations(twice)) == TASKS - 1


def test_agreement_is_told_by_labeller_and_class(twice: Context) -> None:
    for objects in ([NEAR], [FAR], [CAR, {**CAR, "box": [20, 3, 32, 11]}]):
        answer(twice, "anna", CAR)
        answer(twice, "bert", *objects)
    with twice.sessions() as session:
        found = {(one.who, one.label): one for one in second_look.agreement(session)}
    assert found.keys() == {(who, label) for who in ("", "anna", "bert") for label in ("", "car")}
    car = found["anna", "car"]
    assert (car.images, car.share) == (3, 2 / 4)
    assert car.counts == {"same": 2, "box": 1, "class": 0, "first": 0, "second": 1}


def test_a_curator_settles_what_two_people_saw_differently(
    sqlite_context: Context, served: tuple[Any, str], browser: Any
) -> None:
    switch, url = served
    context = looked(sqlite_context)
    add_tasks(context, 3)
    for who, box in (("anna", CAR), (HOSTILE[:20], FAR)):
        for _ in range(2):
            answer(context, who, box)
    switch.app = create_app(context)
    site = Site(context, *served)
    switch.app = site.app
    for width in (1280, 390):
        size = {"width": width, "height": 800}
        with person(browser, url, sign_in(site.app, "cora", "curator"), viewport=size) as page:
            page.goto("/looks")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if width > 1000:
                assert barriers(page) == []
            page.locator("td a").first.press("Enter")
            page.locator("h2", has_text="What differs").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if width > 1000:
                assert barriers(page) == []
            until(page, "[...document.images].every(one => one.naturalWidth > 0)")
            page.locator("input[name=note]").fill("tighter")
            page.locator("button[value=first]").press("Enter")
            page.locator("h2", has_text="Agreement by labeller").wait_for()
    assert [one.author for one in annotations(context)] == ["anna", "anna"]
    viewer: httpx.Client = site.as_("viewer")
    assert "/settle" not in viewer.get("/looks/1").text
    assert viewer.post("/looks/1/settle", data={"taken": "first"}).status_code == 403


def test_lists_of_disputes_take_as_many_statements_for_many_as_for_one(
    context: Context, served: tuple[Any, str]
) -> None:
    add_disputes(context, 1)
    site = Site(context, *served)
    client = site.as_("curator")
    few = site.queries(client, "/looks")
    add_disputes(context, 120)
    assert site.queries(client, "/looks") == few
    page = client.get("/looks").text
    assert page.count('<td><a href="/looks/') == 50
    assert 'rel="next"' in page


def add_disputes(context: Context, count: int) -> None:
    """Tasks that two people have answered differently."""
    from tests.services.builders import make_image

    with context.sessions.begin() as session:
        known = len(session.scalars(select(SecondLook.task_id)).all())
        cycle = session.scalars(select(Cycle)).first()
        if cycle is None:
            cycle, _ = add_labelling(session, 9, 0)
        for number in range(known, known + count):
            image = make_image(5000 + number)
            session.add(image)
            session.flush()
            task = LabelTask(cycle_id=cycle.id, image_id=image.id, state=TaskState.DISPUTED)
            session.add(task)
            session.flush()
            look = SecondLook(
                task_id=task.id, state=LookState.DISPUTED, first=[CAR], first_author="anna",
                first_token=0, second=[], second_author="bert", counts={"car": [0, 0, 0, 1, 0]},
            )  # fmt: skip
            session.add(look)


def test_two_answers_over_http(api: Context, address: str, tmp_path: Path) -> None:
    add_disputes(api, 2)
    headers = {"Authorization": "Bearer secret"}
    with httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=30 * PATIENCE) as client:
        page = client.get("/looks", params={"limit": 1}).json()
        (look,) = page["items"]
        assert (look["state"], look["second_author"]) == ("disputed", "bert")
        body = {"taken": "other", "objects": [NEAR], "note": "n"}
        settled = client.post(f"/looks/{look['task_id']}/settle", json=body)
        assert settled.status_code == 200, settled.text
        assert settled.json()["taken"] == "other"
        assert client.post("/looks/99/settle", json=body).status_code == 404
        after = client.get("/looks", params={"cursor": page["next"]}).json()["items"]
        assert len(after) == 1
        assert client.get("/agreement").json()["items"] == []
