"""Labels of a file that come when the budget is spent: none is lost, none is stored twice."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from services.context import Context
from services.cycle import cycles
from services.db.tables import Annotation, Cycle, CycleState, LabelTask, TaskState, Unit
from services.errors import LeaseLost
from services.labeling import answers, coco, queue
from tests.services.label_queue import CAR, TASKS, annotations, answered, lease, submit

CARS = [CAR, {"box": [20, 10, 50, 30], "label": "car"}]


def _export(context: Context) -> dict[str, Any]:
    with context.sessions() as session:
        document, _images = coco.export_coco(session)
    return answered(document)


def _budget(context: Context, boxes: int) -> None:
    with context.sessions.begin() as session:
        session.scalars(select(Cycle)).one().budget_boxes = boxes


def _cycle(context: Context) -> Cycle:
    with context.sessions() as session:
        return session.scalars(select(Cycle)).one()


def _states(context: Context) -> list[str]:
    with context.sessions() as session:
        return list(session.scalars(select(LabelTask.state).order_by(LabelTask.id)))


def _part(document: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    return {**document, "images": document["images"][first:last], "annotations": []}


def test_every_answer_of_a_file_is_stored_before_the_cycle_goes_on(waiting: Context) -> None:
    _budget(waiting, 2)  # each task is answered with a box

    report = coco.import_coco(waiting, _export(waiting), "tool")

    assert (report.submitted, report.boxes, report.late) == (TASKS, TASKS, 0)
    assert report.problems == []
    assert _states(waiting) == [TaskState.SUBMITTED] * TASKS
    cycle = _cycle(waiting)
    assert (cycle.state, cycle.boxes_labelled) == (CycleState.TRAINING, TASKS)
    for _ in range(2):  # what the scheduler does changes nothing
        with waiting.sessions.begin() as session:
            cycles.advance_waiting(session, waiting)
    with waiting.sessions() as session:
        assert [unit.kind for unit in session.scalars(select(Unit))] == ["train"]


def test_labels_that_come_when_the_budget_is_spent_are_kept(waiting: Context) -> None:
    _budget(waiting, 2)
    document = _export(waiting)
    (leased,) = lease(waiting)
    submit(waiting, leased, *CARS)
    assert _states(waiting).count(TaskState.SKIPPED) == TASKS - 1

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, report.late, len(report.problems)) == (TASKS - 1, TASKS - 1, 1)
    assert "is submitted already, with another answer" in report.problems[0].message
    assert _states(waiting) == [TaskState.SUBMITTED] * TASKS
    cycle = _cycle(waiting)
    assert (cycle.state, cycle.boxes_labelled) == (CycleState.TRAINING, 2)  # what it trains on
    again = coco.import_coco(waiting, document, "tool")
    assert (again.submitted, again.late, again.unchanged) == (0, 0, TASKS - 1)
    assert len(annotations(waiting)) == TASKS


@pytest.mark.parametrize("ending", ["train", "cancel"])
def test_labels_of_tasks_that_the_loop_closed_are_kept(waiting: Context, ending: str) -> None:
    document = _export(waiting)
    assert coco.import_coco(waiting, _part(document, 0, 1), "tool", take_empty=True).submitted == 1
    number = _cycle(waiting).id
    with waiting.sessions.begin() as session:
        if ending == "train":
            cycles.train_with_what_is_there(session, waiting, number)
        else:
            cycles.cancel(session, waiting, number, "test")
    state = _cycle(waiting).state

    report = coco.import_coco(waiting, _part(document, 1, TASKS), "tool", take_empty=True)

    assert (report.submitted, report.late, report.problems) == (TASKS - 1, TASKS - 1, [])
    assert _cycle(waiting).state == state
    assert len(annotations(waiting)) == TASKS


def test_what_a_person_skipped_or_rejected_stays_so(waiting: Context) -> None:
    document = _export(waiting)
    first, second = lease(waiting, count=2)
    with waiting.sessions.begin() as session:
        queue.skip(session, waiting, first.id, first.token, "too dark")
        queue.reject(session, waiting, second.id, second.token)

    report = coco.import_coco(waiting, document, "tool")

    assert report.submitted == TASKS - 2
    said = sorted(one.message for one in report.problems)
    assert ["is rejected already" in said[0], "is skipped already" in said[1]] == [True, True]


def test_an_answer_under_way_when_the_budget_is_spent_is_kept(waiting: Context) -> None:
    _budget(waiting, 2)
    mine, other = lease(waiting, "anna"), lease(waiting, "bert")
    submit(waiting, other[0], *CARS)
    assert _cycle(waiting).state == CycleState.TRAINING

    stored = submit(waiting, mine[0], CAR)
    again = submit(waiting, mine[0], CAR)

    assert (stored.id, stored.revision) == (again.id, 1)
    with waiting.sessions() as session:
        task = session.get_one(LabelTask, mine[0].id)
        assert task.state == TaskState.SUBMITTED
        assert answers.is_late(task)
        assert not answers.is_late(session.get_one(LabelTask, other[0].id))
    assert _cycle(waiting).boxes_labelled == 2
    assert len(annotations(waiting)) == 2


def test_a_task_that_nobody_had_needs_no_answer_when_it_is_closed(waiting: Context) -> None:
    _budget(waiting, 2)
    (mine,) = lease(waiting)
    with waiting.sessions() as session:
        idle = session.scalars(select(LabelTask).where(LabelTask.state == TaskState.WAITING)).all()
    submit(waiting, mine, *CARS)
    with pytest.raises(LeaseLost, match="closed: the budget is spent"):
        submit(waiting, idle[0], CAR)


def test_an_answer_that_cannot_be_used_does_not_hold_up_the_cycle(waiting: Context) -> None:
    _budget(waiting, TASKS - 1)
    document = _export(waiting)
    document["annotations"][2]["bbox"] = [60, 3, 30, 8]

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, len(report.problems)) == (TASKS - 1, 1)
    assert _cycle(waiting).state == CycleState.TRAINING
    document["annotations"][2]["bbox"] = [6, 3, 30, 8]
    mended = coco.import_coco(waiting, document, "tool")
    assert (mended.submitted, mended.late, mended.unchanged) == (1, 1, TASKS - 1)


def test_an_image_that_a_file_names_twice_is_answered_once(waiting: Context) -> None:
    document = _export(waiting)
    first = document["annotations"][0]
    document["images"].append({**document["images"][0], "id": 4711})
    document["annotations"].append({**first, "id": 4711, "image_id": 4711})

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, report.unchanged, report.problems) == (TASKS, 1, [])
    with waiting.sessions() as session:
        assert len(session.scalars(select(Annotation)).all()) == TASKS


def _uploaded(document: dict[str, Any], prefix: str = "cb0618f6-") -> dict[str, Any]:
    """The file as Label Studio gives it back: its own upload names, our keys dropped."""
    for entry in document["images"]:
        name = f"images/{prefix}{entry['file_name']}"
        kept = {key: entry[key] for key in ("id", "width", "height")}
        entry.clear()
        entry.update(kept, file_name=name)
    return document


def test_label_studio_names_its_uploads_anew(waiting: Context) -> None:
    report = coco.import_coco(waiting, _uploaded(_export(waiting)), "tool")
    assert (report.submitted, report.problems) == (TASKS, [])


def test_also_those_that_came_in_under_their_own_names(waiting: Context) -> None:
    document = _export(waiting)
    for entry in document["images"]:
        entry["file_name"] = entry["e2x_name"]
    report = coco.import_coco(waiting, _uploaded(document), "tool")
    assert (report.submitted, report.problems) == (TASKS, [])


def test_an_upload_of_another_size_or_with_another_prefix_is_another_picture(
    waiting: Context,
) -> None:
    document = _uploaded(_export(waiting))
    document["images"][0]["width"] += 1
    report = coco.import_coco(waiting, document, "tool")
    assert (report.submitted, len(report.problems)) == (TASKS - 1, 1)
    assert "px, this one" in report.problems[0].message


@pytest.mark.parametrize("prefix", ["cb0618f-", "cb0618fg-", "cb0618f6_"])
def test_only_the_prefix_of_an_upload_is_taken_off(waiting: Context, prefix: str) -> None:
    report = coco.import_coco(waiting, _uploaded(_export(waiting), prefix), "tool")
    assert report.submitted == 0
    assert all("no label task asked for it" in one.message for one in report.problems)
