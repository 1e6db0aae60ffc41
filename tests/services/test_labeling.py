"""Label tasks: one owner at a time, one annotation an answer, COCO out and back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from curation.errors import AnnotationsInvalid, InvalidBoxes
from services.context import Context
from services.db.base import utc_now
from services.db.tables import Annotation, Cycle, CycleState, Image, LabelTask, TaskState, Unit
from services.errors import Conflict, InvalidRequest, LeaseLost, NotFound
from services.labeling import coco, queue
from tests.services.builders import add_champion, make_image

TASKS = 6
CAR = {"box": [2, 3, 12, 11], "label": "car"}
OTHER = {"box": [20, 10, 50, 30], "label": "car", "ignore": True}
LONG_S = 600.0


@pytest.fixture
def waiting(context: Context) -> Context:
    """A cycle that waits for labels of six images; later ones are more urgent."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        cycle = Cycle(
            policy="random",
            budget_boxes=9,
            champion_id=champion.id,
            state=CycleState.LABELLING,
        )
        session.add(cycle)
        images = [make_image(number) for number in range(1, TASKS + 1)]
        session.add_all(images)
        session.flush()
        for number, image in enumerate(images, 1):
            session.add(
                LabelTask(
                    cycle_id=cycle.id,
                    image_id=image.id,
                    priority=float(number),
                    prelabels=[{"box": [1.0, 2.0, 9.5, 8.0], "label": "car", "score": 0.7}],
                    reason={"failure": f"{number:064x}", "text": "a missed car"},
                )
            )
    return context


def _lease(context: Context, owner: str = "anna", count: int = 1, **more: Any) -> list[LabelTask]:
    with context.sessions.begin() as session:
        return queue.lease(session, owner, count, more.pop("lease_s", LONG_S), **more)


def _submit(context: Context, task: LabelTask, *objects: dict[str, Any]) -> Annotation:
    with context.sessions.begin() as session:
        return queue.submit(session, context, task.id, task.token, objects, "anna")


def _expire(context: Context, task: LabelTask) -> None:
    past = utc_now() - timedelta(seconds=1)
    with context.sessions.begin() as session:
        session.execute(update(LabelTask).where(LabelTask.id == task.id).values(lease_until=past))


def _state(context: Context, task: LabelTask) -> LabelTask:
    with context.sessions() as session:
        return session.get_one(LabelTask, task.id)


def _annotations(context: Context) -> list[Annotation]:
    with context.sessions() as session:
        return list(session.scalars(select(Annotation).order_by(Annotation.id)))


def test_the_most_urgent_come_first_and_nothing_comes_twice(waiting: Context) -> None:
    first = _lease(waiting, "anna", 2)
    second = _lease(waiting, "bert", TASKS)

    assert [task.priority for task in first + second] == [6, 5, 4, 3, 2, 1]
    assert {task.owner for task in second} == {"bert"}
    assert _lease(waiting, "carl", 1) == []


def test_a_task_of_another_cycle_is_not_given_out(waiting: Context) -> None:
    assert _lease(waiting, cycle_id=99) == []


def test_owners_who_ask_at_once_never_get_the_same_task(waiting: Context) -> None:
    together = threading.Barrier(4)

    def ask(owner: str) -> list[int]:
        together.wait(30)
        taken: list[int] = []
        while got := _lease(waiting, owner, 2):
            taken += [task.id for task in got]
        return taken

    with ThreadPoolExecutor(4) as owners:
        taken = [one for got in owners.map(ask, "abcd") for one in got]

    assert len(taken) == len(set(taken)) == TASKS


def test_an_expired_lease_goes_back_and_the_late_answer_stores_nothing(waiting: Context) -> None:
    (late,) = _lease(waiting, "anna")
    _expire(waiting, late)

    (again,) = _lease(waiting, "bert")

    assert (again.id, again.owner) == (late.id, "bert")
    assert again.token > late.token
    with pytest.raises(LeaseLost, match="nothing of this answer was stored"):
        _submit(waiting, late, CAR)
    assert _annotations(waiting) == []
    assert _state(waiting, late).state == TaskState.LEASED


def test_an_answer_that_is_late_but_still_alone_counts(waiting: Context) -> None:
    (late,) = _lease(waiting)
    _expire(waiting, late)

    assert _submit(waiting, late, CAR).revision == 1


def test_an_answer_is_stored_with_its_reason(waiting: Context) -> None:
    (task,) = _lease(waiting)

    stored = _submit(waiting, task, CAR, OTHER)

    assert stored.objects == [{**CAR, "ignore": False}, OTHER]
    assert (stored.author, stored.cycle_id) == ("anna", task.cycle_id)
    assert stored.origin == task.reason["failure"]
    assert _state(waiting, task).state == TaskState.SUBMITTED


def test_the_same_answer_again_is_one_annotation(waiting: Context) -> None:
    (task,) = _lease(waiting)

    first, again = (_submit(waiting, task, CAR) for _ in range(2))

    assert first.id == again.id
    assert len(_annotations(waiting)) == 1


def test_the_same_answer_sent_at_once_is_one_annotation(waiting: Context) -> None:
    (task,) = _lease(waiting)

    with ThreadPoolExecutor(4) as senders:
        sent = list(senders.map(lambda _: _submit(waiting, task, CAR).id, range(8)))

    assert len(set(sent)) == 1
    assert len(_annotations(waiting)) == 1


def test_another_answer_is_a_revision_until_the_cycle_trains(waiting: Context) -> None:
    (task,) = _lease(waiting)
    _submit(waiting, task, CAR)

    revised = _submit(waiting, task)

    assert (revised.revision, revised.objects) == (2, [])
    with waiting.sessions.begin() as session:
        session.get_one(Cycle, task.cycle_id).state = CycleState.TRAINING
    with pytest.raises(Conflict, match="labels are closed"):
        _submit(waiting, task, OTHER)
    assert [one.revision for one in _annotations(waiting)] == [1, 2]


@pytest.mark.parametrize(
    ("objects", "error"),
    [
        ([CAR, {**CAR, "box": [9, 9, 4, 4]}], InvalidBoxes),
        ([{**CAR, "box": [0, 0, 99, 9]}], InvalidBoxes),
        ([{**CAR, "label": "boat"}], InvalidRequest),
        ([{**CAR, "box": [1, 2]}], InvalidRequest),
        ([{"label": "car"}], InvalidRequest),
    ],
)
def test_a_wrong_answer_stores_nothing_and_keeps_the_lease(
    waiting: Context, objects: list[dict[str, Any]], error: type[Exception]
) -> None:
    (task,) = _lease(waiting)

    with pytest.raises(error):
        _submit(waiting, task, *objects)

    assert _annotations(waiting) == []
    assert _submit(waiting, task, CAR).revision == 1


def test_skipped_and_rejected_tasks_are_closed_and_released_ones_return(waiting: Context) -> None:
    first, second, third = _lease(waiting, count=3)
    with waiting.sessions.begin() as session:
        queue.skip(session, waiting, first.id, first.token, "too dark")
        queue.skip(session, waiting, first.id, first.token)
        queue.reject(session, waiting, second.id, second.token, "a\0 cartoon")
        queue.release(session, third.id, third.token)

    assert (_state(waiting, first).state, _state(waiting, first).note) == ("skipped", "too dark")
    assert (_state(waiting, second).state, _state(waiting, second).note) == (
        "rejected",
        "a cartoon",
    )
    (again,) = _lease(waiting, "bert")
    assert again.id == third.id
    for task in (first, second, third):
        with pytest.raises(LeaseLost):
            _submit(waiting, task, CAR)


def test_an_unknown_task_is_not_found(waiting: Context) -> None:
    with waiting.sessions.begin() as session, pytest.raises(NotFound, match="no label task 999"):
        queue.release(session, 999, 1)


def test_the_last_answer_starts_the_training_once(waiting: Context) -> None:
    tasks = _lease(waiting, count=TASKS)
    for task in tasks[1:]:
        _submit(waiting, task, CAR)
    with waiting.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Unit)) == 0

    _submit(waiting, tasks[0], CAR, OTHER)
    _submit(waiting, tasks[0], CAR, OTHER)

    with waiting.sessions() as session:
        assert [unit.kind for unit in session.scalars(select(Unit))] == ["train"]
        cycle = session.get_one(Cycle, tasks[0].cycle_id)
        assert (cycle.state, cycle.boxes_labelled) == (CycleState.TRAINING, TASKS + 1)


def _export(context: Context) -> dict[str, Any]:
    with context.sessions() as session:
        document, images = coco.export_coco(session)
    assert [image.id for image in images] == [one["e2x_image"] for one in document["images"]]
    return document


def test_prelabels_go_out_and_come_back_as_labels(waiting: Context) -> None:
    document = _export(waiting)
    assert [one["e2x_reason"] for one in document["images"]] == ["a missed car"] * TASKS
    assert document["categories"] == [{"id": 1, "name": "car"}]
    for image in document["images"]:
        del image["e2x_task"], image["e2x_image"], image["e2x_reason"]

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, report.boxes, report.problems) == (TASKS, TASKS, [])
    stored = _annotations(waiting)
    expected = [{"box": [1, 2, 9.5, 8], "label": "car", "ignore": False}]
    assert [one.objects for one in stored] == [expected] * TASKS
    assert len({one.image_id for one in stored}) == TASKS
    assert _export(waiting)["images"] == []


def test_labels_that_come_back_twice_are_stored_once(waiting: Context) -> None:
    document = _export(waiting)
    coco.import_coco(waiting, document, "tool")

    again = coco.import_coco(waiting, document, "tool")

    assert again.submitted == 0
    assert all("is submitted already" in one.message for one in again.problems)
    assert len(_annotations(waiting)) == TASKS


def _named(context: Context, *names: str) -> dict[str, Any]:
    """The export as a tool that knows only the pictures' own names would write it."""
    document = _export(context)
    with context.sessions.begin() as session:
        for entry, name in zip(document["images"], names, strict=False):
            session.get_one(Image, entry["e2x_image"]).name = name
            entry["file_name"] = name
            del entry["e2x_task"], entry["e2x_image"], entry["e2x_name"]
    return document


def test_labels_come_back_under_the_names_that_images_came_in_with(waiting: Context) -> None:
    document = _named(waiting, "a.png", "b.png")
    document["images"][0]["file_name"] = "C:\\drive 7\\a.png"
    asked = _export(waiting)["images"]
    assert asked[0]["e2x_name"] == "a.png"

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, report.problems) == (TASKS, [])
    answered = {one.image_id for one in _annotations(waiting)}
    assert {one["e2x_image"] for one in asked} == answered
    again = coco.import_coco(waiting, document, "tool")
    assert all("is submitted already" in one.message for one in again.problems)


def test_a_name_that_two_images_have_answers_neither(waiting: Context) -> None:
    report = coco.import_coco(waiting, _named(waiting, "a.png", "a.png"), "tool")
    assert report.submitted == TASKS - 2
    for problem in report.problems:
        assert "2 images that labels were asked for have this name" in problem.message


def test_a_picture_of_another_size_is_another_picture(waiting: Context) -> None:
    document = _named(waiting, "a.png")
    document["images"][0]["width"] += 1
    report = coco.import_coco(waiting, document, "tool")
    assert report.submitted == TASKS - 1
    (problem,) = report.problems
    assert "px, this one" in problem.message


def _spoil_box(document: dict[str, Any]) -> None:
    document["annotations"][2]["bbox"] = [60, 3, 30, 8]


def _spoil_class(document: dict[str, Any]) -> None:
    document["annotations"][2]["category_id"] = ["nonsense"]


def _spoil_numbers(document: dict[str, Any]) -> None:
    document["annotations"][2]["bbox"] = ["a", 1, 2]


def _spoil_name(document: dict[str, Any]) -> None:
    del document["images"][2]["e2x_image"]
    document["images"][2]["file_name"] = "../\0/other.png"


def _spoil_id(document: dict[str, Any]) -> None:
    document["images"][2]["id"] = {"a": 1}
    del document["annotations"][2]


def _spoil_reference(document: dict[str, Any]) -> None:
    document["annotations"].append({"id": 99, "image_id": [4], "bbox": [1, 1, 2, 2]})
    del document["images"][2], document["annotations"][2]


@pytest.mark.parametrize(
    "spoil",
    [_spoil_box, _spoil_class, _spoil_numbers, _spoil_name, _spoil_id, _spoil_reference],
)
def test_one_bad_image_of_an_import_costs_nothing_else(waiting: Context, spoil: Any) -> None:
    document = _export(waiting)
    bad = document["images"][2]["e2x_task"]
    spoil(document)

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, len(report.problems)) == (TASKS - 1, 1)
    assert report.problems[0].message.startswith("left out: ")
    assert len(_annotations(waiting)) == TASKS - 1
    with waiting.sessions() as session:
        assert session.get_one(LabelTask, bad).state == TaskState.WAITING


def test_an_import_leaves_leased_tasks_to_their_owners(waiting: Context) -> None:
    document = _export(waiting)
    (leased,) = _lease(waiting, "anna")

    report = coco.import_coco(waiting, document, "tool")

    assert report.submitted == TASKS - 1
    assert "is leased by anna" in report.problems[0].message
    assert _submit(waiting, leased, CAR).revision == 1


@pytest.mark.parametrize("document", [[], {"images": []}, {"images": [1]}, None])
def test_what_is_no_coco_is_refused_whole(waiting: Context, document: Any) -> None:
    with pytest.raises(AnnotationsInvalid, match="not a COCO file"):
        coco.import_coco(waiting, document, "tool")
