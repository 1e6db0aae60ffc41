"""Label tasks: one owner at a time, one annotation an answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from benchmarks.common.waiting import PATIENCE
from curation.kernel.errors import InvalidBoxes
from services.context import Context
from services.db.base import utc_now
from services.db.tables import Cycle, CycleState, LabelTask, TaskState, Unit
from services.errors import Conflict, InvalidRequest, LeaseLost, NotFound
from services.labeling import queue
from tests.services.label_queue import CAR, TASKS, annotations, lease, submit

OTHER = {"box": [20, 10, 50, 30], "label": "car", "ignore": True}


def _expire(context: Context, task: LabelTask) -> None:
    past = utc_now() - timedelta(seconds=1)
    with context.sessions.begin() as session:
        session.execute(update(LabelTask).where(LabelTask.id == task.id).values(lease_until=past))


def _state(context: Context, task: LabelTask) -> LabelTask:
    with context.sessions() as session:
        return session.get_one(LabelTask, task.id)


def test_the_most_urgent_come_first_and_nothing_comes_twice(waiting: Context) -> None:
    first = lease(waiting, "anna", 2)
    second = lease(waiting, "bert", TASKS)

    assert [task.priority for task in first + second] == [6, 5, 4, 3, 2, 1]
    assert {task.owner for task in second} == {"bert"}
    assert lease(waiting, "carl", 1) == []


def test_a_task_of_another_cycle_is_not_given_out(waiting: Context) -> None:
    assert lease(waiting, cycle_id=99) == []


def test_owners_who_ask_at_once_never_get_the_same_task(waiting: Context) -> None:
    together = threading.Barrier(4)

    def ask(owner: str) -> list[int]:
        together.wait(30 * PATIENCE)
        taken: list[int] = []
        while got := lease(waiting, owner, 2):
            taken += [task.id for task in got]
        return taken

    with ThreadPoolExecutor(4) as owners:
        taken = [one for got in owners.map(ask, "abcd") for one in got]

    assert len(taken) == len(set(taken)) == TASKS


def test_an_expired_lease_goes_back_and_the_late_answer_stores_nothing(waiting: Context) -> None:
    (late,) = lease(waiting, "anna")
    _expire(waiting, late)

    (again,) = lease(waiting, "bert")

    assert (again.id, again.owner) == (late.id, "bert")
    assert again.token > late.token
    with pytest.raises(LeaseLost, match="nothing of this answer was stored"):
        submit(waiting, late, CAR)
    assert annotations(waiting) == []
    assert _state(waiting, late).state == TaskState.LEASED


def test_an_answer_that_is_late_but_still_alone_counts(waiting: Context) -> None:
    (late,) = lease(waiting)
    _expire(waiting, late)

    assert submit(waiting, late, CAR).revision == 1


def test_an_answer_is_stored_with_its_reason(waiting: Context) -> None:
    (task,) = lease(waiting)

    stored = submit(waiting, task, CAR, OTHER)

    assert stored.objects == [{**CAR, "ignore": False}, OTHER]
    assert (stored.author, stored.cycle_id) == ("anna", task.cycle_id)
    assert stored.origin == task.reason["failure"]
    assert _state(waiting, task).state == TaskState.SUBMITTED


def test_the_same_answer_again_is_one_annotation(waiting: Context) -> None:
    (task,) = lease(waiting)

    first, again = (submit(waiting, task, CAR) for _ in range(2))

    assert first.id == again.id
    assert len(annotations(waiting)) == 1


def test_the_same_answer_sent_at_once_is_one_annotation(waiting: Context) -> None:
    (task,) = lease(waiting)

    with ThreadPoolExecutor(4) as senders:
        sent = list(senders.map(lambda _: submit(waiting, task, CAR).id, range(8)))

    assert len(set(sent)) == 1
    assert len(annotations(waiting)) == 1


def test_another_answer_is_a_revision_until_the_cycle_trains(waiting: Context) -> None:
    (task,) = lease(waiting)
    submit(waiting, task, CAR)

    revised = submit(waiting, task)

    assert (revised.revision, revised.objects) == (2, [])
    with waiting.sessions.begin() as session:
        session.get_one(Cycle, task.cycle_id).state = CycleState.TRAINING
    with pytest.raises(Conflict, match="labels are closed"):
        submit(waiting, task, OTHER)
    assert [one.revision for one in annotations(waiting)] == [1, 2]


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
    (task,) = lease(waiting)

    with pytest.raises(error):
        submit(waiting, task, *objects)

    assert annotations(waiting) == []
    assert submit(waiting, task, CAR).revision == 1


def test_skipped_and_rejected_tasks_are_closed_and_released_ones_return(waiting: Context) -> None:
    first, second, third = lease(waiting, count=3)
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
    (again,) = lease(waiting, "bert")
    assert again.id == third.id
    for task in (first, second, third):
        with pytest.raises(LeaseLost):
            submit(waiting, task, CAR)


def test_an_unknown_task_is_not_found(waiting: Context) -> None:
    with waiting.sessions.begin() as session, pytest.raises(NotFound, match="no label task 999"):
        queue.release(session, 999, 1)


def test_the_last_answer_starts_the_training_once(waiting: Context) -> None:
    tasks = lease(waiting, count=TASKS)
    for task in tasks[1:]:
        submit(waiting, task, CAR)
    with waiting.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Unit)) == 0

    submit(waiting, tasks[0], CAR, OTHER)
    submit(waiting, tasks[0], CAR, OTHER)

    with waiting.sessions() as session:
        assert [unit.kind for unit in session.scalars(select(Unit))] == ["train"]
        cycle = session.get_one(Cycle, tasks[0].cycle_id)
        assert (cycle.state, cycle.boxes_labelled) == (CycleState.TRAINING, TASKS + 1)


def test_a_lease_is_renewed_while_nobody_else_has_the_task(waiting: Context) -> None:
    (task,) = lease(waiting, "anna", 1)
    _expire(waiting, task)

    with waiting.sessions.begin() as session:
        renewed = queue.renew(session, task.id, task.token, 600.0)

    assert (renewed.token, renewed.owner, renewed.state) == (task.token, "anna", TaskState.LEASED)
    assert task.id not in {other.id for other in lease(waiting, "bert", TASKS)}


def test_a_lease_that_somebody_else_has_now_is_not_renewed(waiting: Context) -> None:
    (task,) = lease(waiting, "anna", 1)
    _expire(waiting, task)
    lease(waiting, "bert", 1)

    with pytest.raises(LeaseLost), waiting.sessions.begin() as session:
        queue.renew(session, task.id, task.token, 600.0)

    assert _state(waiting, task).owner == "bert"
