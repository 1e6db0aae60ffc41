"""Label Studio, the real server: tasks there, answers back, and what can go wrong between."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from services.api.app import create_app
from services.context import Context
from services.db.actors import Door
from services.db.tables import (
    Annotation,
    Audit,
    Connection,
    Cycle,
    CycleState,
    LabelTask,
    SentState,
    SentTask,
    TaskState,
)
from services.errors import NotAllowed, ToolUnavailable
from services.labeling import queue
from services.labeling.connectors import connections, label_studio, standing, sync
from services.models.datasets import build_version
from tests import bad_images
from tests.services.api_server import Switch, serving
from tests.services.builders import add_champion, stored_image
from tests.services.label_studio_server import (
    Server,
    answer,
    boxes,
    hand_in,
    line_to,
    tasks_of,
)

pytestmark = pytest.mark.timeout(600)
"""The server's first start takes minutes where much else runs."""
SIZE = (bad_images.WIDTH, bad_images.HEIGHT)
PRELABEL = {"box": [1.0, 2.0, 9.5, 8.0], "label": "car", "score": 0.7}
CAR = {"box": [2.33, 3.0, 12.07, 11.4], "label": "car"}
OTHER = {"box": [20.0, 10.0, 50.0, 30.0], "label": "car"}


@pytest.fixture(scope="module")
def pictures() -> Iterator[tuple[Switch, str]]:
    """Our own API, from which browsers load pictures."""
    switch = Switch()
    with serving(switch) as (url, _):
        yield switch, url


@dataclass
class Work:
    """A project that asks for labels, connected."""

    context: Context
    number: int
    server: Server
    admin: httpx.Client

    def sync(self, **how: bool) -> sync.Exchange:
        return sync.run(self.context, self.number, **how)

    @property
    def remote(self) -> dict[int, dict[str, Any]]:
        """The tasks there, by our numbers."""
        with self.context.sessions() as session:
            project = session.get_one(Connection, self.number).project
        return tasks_of(self.admin, str(project))

    def rows(self) -> dict[int, SentTask]:
        with self.context.sessions() as session:
            return {row.task_id: row for row in session.scalars(select(SentTask))}

    def task(self, number: int) -> LabelTask:
        with self.context.sessions() as session:
            return session.get_one(LabelTask, number)

    def stored(self, number: int) -> list[Annotation]:
        """All answers to a task, the oldest first."""
        with self.context.sessions() as session:
            image = session.get_one(LabelTask, number).image_id
            query = select(Annotation).where(Annotation.image_id == image)
            return list(session.scalars(query.order_by(Annotation.revision)))


def ask(context: Context, count: int, budget: int = 99) -> None:
    """A cycle that waits for labels of so many images, which lie in the store."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        cycle = Cycle(
            policy="random",
            budget_boxes=budget,
            champion_id=champion.id,
            state=CycleState.LABELLING,
        )
        session.add(cycle)
        session.flush()
        for seed in range(count):
            stored = stored_image(context, seed)
            session.add(stored)
            session.flush()
            session.add(
                LabelTask(
                    cycle_id=cycle.id,
                    image_id=stored.id,
                    priority=float(-seed),
                    prelabels=[PRELABEL],
                    reason={"text": "a missed car <b>here</b>"},
                )
            )


@contextmanager
def connected(
    context: Context, server: Server, pictures: tuple[Switch, str], **how: Any
) -> Iterator[Work]:
    """A project with its first exchange done."""
    switch, url = pictures
    switch.app = create_app(context)
    where, token = how.pop("url", server.url), how.pop("token", server.token)
    number = connections.connect(context, "label-studio", where, token, pictures_url=url, **how)
    with server.client() as admin:
        work = Work(context, number, server, admin)
        work.sync()
        yield work


def said(number: int) -> list[dict[str, Any]]:
    """What is in the image of a task, in the tests of whole cycles."""
    return [[], [CAR], [CAR, OTHER], [OTHER]][number % 4]


def by_api(context: Context, left: int = 0) -> None:
    """Answer the most urgent tasks by our own door, all but some."""
    with context.sessions() as session:
        waiting = len(session.scalars(select(LabelTask)).all())
    with context.sessions.begin() as session:
        tasks = queue.lease(session, "carla", waiting - left, 600)
    for task in tasks:
        with context.sessions.begin() as session:
            queue.submit(session, context, task.id, task.token, said(task.id), "carla")


def version_of(context: Context) -> str:
    with context.sessions() as session:
        assert session.scalars(select(Cycle)).one().state == CycleState.TRAINING
        assert set(session.scalars(select(LabelTask.state))) == {TaskState.SUBMITTED}
    return build_version(context).id


@pytest.mark.parametrize("half", [False, True], ids=["all", "half"])
def test_a_cycle_labelled_there_gives_the_version_that_the_api_gives(
    context: Context,
    tmp_path: Path,
    sqlite_url: str,
    label_studio_server: Server,
    people: tuple[httpx.Client, httpx.Client],
    pictures: tuple[Switch, str],
    half: bool,
) -> None:
    count = 6
    ask(context, count)
    there = count // 2 if half else count
    with connected(context, label_studio_server, pictures, at_once=there) as work:
        if half:
            by_api(context)  # what is not there is in our own queue, and nothing else
        remote = work.remote
        assert len(remote) == there
        for place, (number, one) in enumerate(remote.items()):
            assert one["data"]["image"].endswith(f"/{work.task(number).image_id}.png")
            assert one["data"]["reason"] == "a missed car <b>here</b>"
            assert len(one["predictions"]) == 1
            hand_in(people[place % 2], one, boxes(*said(number), size=SIZE))
        done = work.sync()
    assert (done.answers.submitted, done.answers.problems, done.sent) == (len(remote), [], 0)
    with context.sessions() as session:
        trail = session.scalars(select(Audit).where(Audit.door == Door.TOOL)).all()
    assert {row.actor for row in trail} == {"anna@example.com", "bert@example.com"}
    assert {row.action for row in trail} == {"task.answer"}

    alone = make_context(tmp_path / "alone", second_database(sqlite_url, context))
    ask(alone, count)
    by_api(alone)
    assert version_of(context) == version_of(alone)
    alone.engine.dispose()


def second_database(sqlite_url: str, context: Context) -> str:
    """A database for a second project: the template is copied once a test."""
    from benchmarks.common.databases import migrated

    file = Path(sqlite_url.removeprefix("sqlite:///")).with_name("second.db")
    url = f"sqlite:///{file}"
    migrated(url)
    return url


@pytest.fixture
def work(
    sqlite_context: Context, label_studio_server: Server, pictures: tuple[Switch, str]
) -> Iterator[Work]:
    ask(sqlite_context, 12)
    with connected(sqlite_context, label_studio_server, pictures) as made:
        yield made


def test_each_thing_that_people_do_there_is_understood(
    work: Work, people: tuple[httpx.Client, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio, "PAGE", 2)  # what changes is spread over pages
    anna, bert = people
    remote = work.remote
    numbers = list(remote)
    empty, unloaded, accepted, bulk, turned, two, settled, skipped, updated, far, unknown, idle = (
        numbers
    )
    offered = remote[accepted]["predictions"][0]
    hand_in(anna, remote[empty], [])
    answer(anna, remote[unloaded], [], lead_time=3.0)
    hand_in(anna, remote[accepted], offered["result"], parent_prediction=offered["id"])
    httpx.get(remote[bulk]["data"]["image"])
    made = work.admin.post(
        "/api/dm/actions",
        params={"id": "predictions_to_annotations", "project": remote[bulk]["project"]},
        json={"selectedItems": {"all": False, "included": [remote[bulk]["id"]]}},
    )
    assert made.status_code == 200, made.text
    hand_in(anna, remote[turned], boxes(CAR, size=SIZE, rotation=30))
    hand_in(bert, remote[two], boxes(OTHER, size=SIZE))
    hand_in(anna, remote[two], boxes(CAR, size=SIZE))
    right = hand_in(bert, remote[settled], boxes(CAR, size=SIZE))
    hand_in(anna, remote[settled], boxes(OTHER, size=SIZE))
    marked = work.admin.patch(f"/api/annotations/{right['id']}/", json={"ground_truth": True})
    assert marked.status_code == 200, marked.text
    hand_in(anna, remote[skipped], offered["result"], was_cancelled=True)
    first = hand_in(bert, remote[updated], boxes(CAR, size=SIZE))
    hand_in(anna, remote[far], boxes({**CAR, "box": [70, 3, 90, 8]}, size=SIZE))
    hand_in(anna, remote[unknown], boxes({**CAR, "label": "<i>dragon</i>"}, size=SIZE))

    done = work.sync()

    assert (done.skipped, done.answers.submitted, done.answers.empty) == (1, 5, 1)
    assert done.answers.left_empty == [f"task {unloaded}"]
    assert done.answers.left_untouched == [f"task {bulk}"]
    problems = {one.where: one.message for one in done.answers.problems}
    assert set(problems) == {f"task {one}" for one in (turned, far, unknown)}
    assert "anna@example.com: object 1 (car) is rotated by 30" in problems[f"task {turned}"]
    assert "dragon" in problems[f"task {unknown}"]
    assert [one.objects for one in work.stored(empty)] == [[]]
    assert work.stored(accepted)[0].objects[0]["box"] == PRELABEL["box"]
    assert work.stored(two)[0].objects[0]["box"] == CAR["box"]
    assert work.stored(settled)[0].objects[0]["box"] == CAR["box"]
    rows = work.rows()
    assert "bert@example.com answered otherwise" in str(rows[two].note)
    assert "marked as right" in str(rows[settled].note)
    assert work.task(skipped).state == TaskState.SKIPPED
    assert work.task(skipped).note == "skipped by anna@example.com"
    for left in (unloaded, bulk, turned, far, unknown, idle):
        assert (work.task(left).state, work.stored(left)) == (TaskState.LEASED, [])

    again = work.sync(whole=True)
    assert (again.answers.submitted, again.answers.replaced, again.skipped) == (0, 0, 0)
    assert len(work.stored(two)) == 1

    # Later: a correction, an answer after a skip, a deletion, a turned box put right.
    new = boxes(OTHER, size=SIZE)
    assert bert.patch(f"/api/annotations/{first['id']}/", json={"result": new}).is_success
    hand_in(bert, remote[skipped], boxes(CAR, size=SIZE))
    for one in work.admin.get(f"/api/tasks/{remote[empty]['id']}").json()["annotations"]:
        assert anna.delete(f"/api/annotations/{one['id']}/").is_success
    wrong = work.admin.get(f"/api/tasks/{remote[turned]['id']}").json()["annotations"][0]
    right = boxes(CAR, size=SIZE)
    assert anna.patch(f"/api/annotations/{wrong['id']}/", json={"result": right}).is_success
    later = work.sync()
    assert (later.answers.submitted, later.answers.replaced) == (2, 1)
    assert [one.revision for one in work.stored(updated)] == [1, 2]
    assert work.stored(updated)[1].objects[0]["box"] == OTHER["box"]
    assert work.task(skipped).state == TaskState.SUBMITTED
    assert work.stored(turned)[0].objects[0]["box"] == CAR["box"]
    assert [one.objects for one in work.stored(empty)] == [[]]
    assert "was deleted there" in str(work.rows()[empty].note)

    taken = work.sync(unseen=True)
    assert (taken.answers.submitted, taken.answers.empty) == (2, 1)
    assert work.task(idle).state == TaskState.LEASED  # nobody has said anything of it


def test_nothing_is_lost_or_doubled_when_the_line_breaks(
    sqlite_context: Context,
    label_studio_server: Server,
    people: tuple[httpx.Client, httpx.Client],
    pictures: tuple[Switch, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    context = sqlite_context
    with line_to(label_studio_server) as line, label_studio_server.client() as admin:
        pictures[0].app = create_app(context)
        number = connections.connect(
            context, "label-studio", line.url, label_studio_server.token, pictures_url=pictures[1]
        )
        work = Work(context, number, label_studio_server, admin)
        ask(context, 3)
        line.lose = "/import"  # it arrives, and nobody hears of it
        with pytest.raises(ToolUnavailable):
            work.sync()
        assert {row.state for row in work.rows().values()} == {SentState.SENDING}
        assert len(work.remote) == 3
        line.lose = ""
        done = work.sync()
        assert (done.sent, done.sent_again) == (0, 3)
        assert len(work.remote) == 3
        assert {row.state for row in work.rows().values()} == {SentState.SENT}

        one, two, three = work.remote.values()
        hand_in(people[0], one, boxes(CAR, size=SIZE))
        line.cut = True
        with pytest.raises(ToolUnavailable, match="does not answer"):
            work.sync()
        assert sync.due(context) == []  # it waits longer after each failure
        with context.sessions() as session:
            (told,) = standing.of_all(session)
        assert told["failures"] == 1
        assert "does not answer" in told["error"]
        line.cut = False
        assert work.sync().answers.submitted == 1

        hand_in(people[1], two, boxes(OTHER, size=SIZE))
        with label_studio_server.locked(), pytest.raises(ToolUnavailable, match="in trouble"):
            work.sync()
        assert work.sync().answers.submitted == 1

        connections.connect(context, "label-studio", line.url, "0" * 40)
        with pytest.raises(NotAllowed, match="--token-file"):
            work.sync()
        with label_studio_server.person(f"{secrets.token_hex(4)}@example.com") as somebody:
            personal = somebody.post("/api/token/").json()["token"]
        connections.connect(context, "label-studio", line.url, personal)
        hand_in(people[1], three, [])
        assert work.sync().answers.submitted == 1
        with context.sessions() as session:
            (told,) = standing.of_all(session)
            row = session.get_one(Connection, number)
            assert (told["error"], told["failures"]) == (None, 0)
            shown = f"{told} {vars(row)}"
    for secret in (label_studio_server.token, personal, "0" * 40):
        assert secret not in caplog.text
        assert secret not in shown
    file = connections.token_file(context.project, number)
    assert (file.read_text(), file.stat().st_mode & 0o77) == (personal, 0)


def test_what_is_wanted_no_more_is_withdrawn_and_what_is_begun_is_waited_for(
    sqlite_context: Context,
    label_studio_server: Server,
    people: tuple[httpx.Client, httpx.Client],
    pictures: tuple[Switch, str],
) -> None:
    ask(sqlite_context, 5, budget=1)
    with connected(sqlite_context, label_studio_server, pictures) as work:
        remote = work.remote
        answered, begun, deleted, idle, late = remote
        draft = {"result": boxes(CAR, size=SIZE), "lead_time": 2.0}
        url = f"/api/tasks/{remote[begun]['id']}/drafts"
        assert people[1].post(url, json=draft).is_success
        url = f"/api/tasks/{remote[late]['id']}/drafts"
        assert people[1].post(url, json=draft).is_success
        assert work.admin.delete(f"/api/tasks/{remote[deleted]['id']}/").is_success
        work.sync(whole=True)
        assert work.task(deleted).state == TaskState.WAITING
        assert deleted not in work.remote  # somebody did not want it there

        sqlite_context.settings.labels.wait_for_all = False
        hand_in(people[0], remote[answered], boxes(CAR, size=SIZE))
        done = work.sync()
        assert (done.answers.submitted, done.withdrawn) == (1, 1)
        assert set(work.remote) == {answered, begun, late}
        assert work.rows()[idle].state == SentState.ENDED

        hand_in(people[1], remote[late], boxes(OTHER, size=SIZE))
        assert work.sync().answers.late == 1
        assert work.stored(late)[0].objects[0]["box"] == OTHER["box"]


def test_a_project_of_somebody_is_adopted_as_it_is(
    sqlite_context: Context, label_studio_server: Server, pictures: tuple[Switch, str]
) -> None:
    ask(sqlite_context, 1)
    config = label_studio_config('<Label value="bus"/>')
    with label_studio_server.client() as admin:
        made = admin.post("/api/projects", json={"title": "ours", "label_config": config}).json()
        other = {"data": {"photo": "http://x/y.jpg", "e2x_task": 1, "e2x_mark": "another"}}
        admin.post(f"/api/projects/{made['id']}/import", json=[other])
    with connected(sqlite_context, label_studio_server, pictures, project=str(made["id"])) as work:
        done = work.sync()
        assert "does not offer the classes car" in done.notes[0]
        (ours,) = [one for one in work.remote.values() if one["data"]["e2x_mark"] != "another"]
        result = ours["predictions"][0]["result"][0]
        assert (result["from_name"], result["to_name"]) == ("what", "picture")
        assert ours["data"]["photo"].startswith(pictures[1])
        kept = work.admin.get(f"/api/projects/{made['id']}").json()
        assert kept["label_config"] == config
        (row,) = work.rows().values()
        assert connections.disconnect(sqlite_context, "label-studio") == work.number
        assert work.task(row.task_id).state == TaskState.WAITING
        assert httpx.get(ours["data"]["photo"]).status_code == 404


def label_studio_config(labels: str) -> str:
    return (
        '<View><Image name="picture" value="$photo"/>'
        f'<RectangleLabels name="what" toName="picture">{labels}</RectangleLabels></View>'
    )
