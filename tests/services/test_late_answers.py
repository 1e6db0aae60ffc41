"""Late answers and redriven units through API and command line, and label work side by side."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import event, select

from benchmarks.common.waiting import PATIENCE
from services import units
from services.context import Context
from services.cycle import cycles
from services.db.tables import Annotation, Cycle, CycleState, LabelTask, TaskState, Unit
from services.labeling import answers, coco, queue
from tests.services.api_server import error_of
from tests.services.builders import add_champion, add_holdout_image, make_image
from tests.services.commands import CommandLine
from tests.services.label_queue import CAR, LONG_S, TASKS, add_labelling, lease, submit
from tests.services.label_queue import answered as as_saved

CARS = [CAR, {"box": [20, 10, 50, 30], "label": "car"}]


def _add_tasks(context: Context, budget_boxes: int, tasks: int = 3) -> int:
    """A cycle that waits for labels; its number."""
    with context.sessions.begin() as session:
        cycle, images = add_labelling(session, budget_boxes, tasks)
        session.add_all(LabelTask(cycle_id=cycle.id, image_id=image.id) for image in images)
        return cycle.id


def test_the_api_takes_an_answer_under_way_and_says_that_it_is_late(
    client: httpx.Client, api: Context
) -> None:
    number = _add_tasks(api, 2)
    body: dict[str, Any] = {"owner": "anna", "count": 3}
    first, second, third = client.post("/tasks/lease", json=body).json()["items"]
    answer = {"token": first["token"], "objects": CARS}
    assert client.post(f"/tasks/{first['id']}/submit", json=answer).json()["late"] is False
    assert client.get(f"/cycles/{number}").json()["state"] == "training"

    answer = {"token": second["token"], "objects": [CAR]}
    late = [client.post(f"/tasks/{second['id']}/submit", json=answer).json() for _ in range(2)]

    assert late[0] == late[1]
    assert (late[0]["late"], late[0]["revision"]) == (True, 1)
    other = {"token": second["token"], "objects": []}
    error_of(client.post(f"/tasks/{second['id']}/submit", json=other), 409, "conflict")
    stale = {"token": third["token"] - 1, "objects": [CAR]}
    said = error_of(client.post(f"/tasks/{third['id']}/submit", json=stale), 409, "lease_lost")
    assert "closed: the budget is spent" in said
    mine = {"token": third["token"]}
    refused = client.post(f"/tasks/{third['id']}/reject", json=mine).json()
    assert refused["state"] == "rejected"


def test_a_late_answer_does_not_replace_that_of_a_later_cycle(
    client: httpx.Client, api: Context
) -> None:
    _add_tasks(api, 2)
    body: dict[str, Any] = {"owner": "anna", "count": 3}
    first, second, _third = client.post("/tasks/lease", json=body).json()["items"]
    client.post(
        f"/tasks/{first['id']}/submit", json={"token": first["token"], "objects": CARS}
    ).raise_for_status()
    with api.sessions.begin() as session:
        closed = session.get_one(LabelTask, second["id"])
        assert answers.is_closed(closed)
        session.add(cycle := Cycle(policy="random", budget_boxes=9, champion_id=f"{1:064x}"))
        session.flush()
        session.add(asked := LabelTask(cycle_id=cycle.id, image_id=closed.image_id))
        session.flush()
        later = asked.id

    answer = {"token": second["token"], "objects": []}
    said = error_of(client.post(f"/tasks/{second['id']}/submit", json=answer), 409, "lease_lost")

    assert "needs no answer any more" in said
    with api.sessions() as session:
        assert session.get_one(LabelTask, later).state == TaskState.WAITING


def test_the_api_imports_late_labels_too(client: httpx.Client, api: Context) -> None:
    number = _add_tasks(api, 2)
    document = client.get("/labels/export").json()
    client.post(
        "/labels/import?take_empty=true", json={**document, "images": document["images"][:1]}
    )
    assert client.post(f"/cycles/{number}/train").status_code == 200

    report = client.post("/labels/import?take_empty=true", json=document).json()

    assert (report["submitted"], report["late"], report["unchanged"]) == (2, 2, 1)
    assert report["problems"] == []


def test_the_api_redrives_no_cycle_beside_another(client: httpx.Client, api: Context) -> None:
    with api.sessions.begin() as session:
        champion = add_champion(session)
        add_holdout_image(session)
        cycle = Cycle(policy="e2x", budget_boxes=9, champion_id=champion.id, state="gating")
        session.add(cycle)
        session.flush()
        unit = units.enqueue(session, "gate", "g", {"cycle": cycle.id}, cycle_id=cycle.id).id
        claim = units.claim(session, unit, "test", 60.0)
        assert claim is not None
        units.fail(session, claim, "disk_full", "no space left", False, 0.0)
        cycles.advance(session, api, cycle.id)
        number = cycle.id
    other = client.post("/cycles", json={"kind": "retrain"}).json()["id"]
    said = error_of(client.post(f"/units/{unit}/redrive"), 409, "conflict")
    assert f"cycle {other} is running" in said
    client.post(f"/cycles/{other}/cancel")
    assert client.post(f"/units/{unit}/redrive").json()["state"] == "queued"
    assert client.get(f"/cycles/{number}").json()["state"] == "gating"


def test_the_command_line_says_what_was_left_out(champion: CommandLine, tmp_path: Path) -> None:
    with champion.opened() as context:
        with context.sessions.begin() as session:
            session.add_all(images := [make_image(number) for number in (1, 2, 3)])
            cycle = Cycle(
                policy="random", budget_boxes=1, champion_id=f"{1:064x}", state=CycleState.LABELLING
            )
            session.add(cycle)
            session.flush()
            session.add_all(LabelTask(cycle_id=cycle.id, image_id=one.id) for one in images)
        with context.sessions() as session:
            document, _images = coco.export_coco(session)
    boxes = ([1, 1, 9, 9], [60, 3, 30, 8], [1, 1, 9, 9])
    document["annotations"] = [
        {"id": n, "image_id": image["id"], "category_id": 1, "bbox": box}
        for n, (image, box) in enumerate(zip(document["images"], boxes, strict=True), 1)
    ]
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(document))

    ran = champion.run("labels", "import", file)

    assert ran.code == 1
    assert "2 tasks answered with 2 boxes" in ran.out
    assert "1 left out" in ran.out
    assert "leaves the 64x48 image" in ran.out
    document["annotations"][1]["bbox"] = [1, 1, 9, 9]
    file.write_text(json.dumps(document))
    mended = champion.done("labels", "import", file).out
    assert "1 of them late" in mended
    assert "2 were answered so before" in mended
    again = champion.done("labels", "import", file, "--json").json
    assert (again["submitted"], again["unchanged"], again["problems"]) == (0, 3, [])


def test_a_long_file_takes_few_statements(sqlite_context: Context) -> None:
    """Others wait for the database while answers are stored."""
    _add_tasks(sqlite_context, 999, tasks=80)
    with sqlite_context.sessions() as session:
        document, _images = coco.export_coco(session)
    writing: list[str] = []

    def count(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if writing or statement.startswith(("INSERT", "UPDATE")):
            writing.append(statement)

    event.listen(sqlite_context.engine, "before_cursor_execute", count)
    try:
        assert coco.import_coco(sqlite_context, document, "tool", take_empty=True).submitted == 80
        assert 80 <= len(writing) < 110  # one for each answer, a few for all
        assert coco.import_coco(sqlite_context, document, "tool").unchanged == 80
    finally:
        event.remove(sqlite_context.engine, "before_cursor_execute", count)


def test_import_and_owners_at_once_lose_nothing_and_train_once(waiting: Context) -> None:
    with waiting.sessions.begin() as session:
        session.scalars(select(Cycle)).one().budget_boxes = 3
    with waiting.sessions() as session:
        document = as_saved(coco.export_coco(session)[0])
    leased = lease(waiting, count=TASKS - 1, lease_s=LONG_S)
    together = threading.Barrier(TASKS + 1)

    def answer(task: LabelTask) -> None:
        together.wait(30 * PATIENCE)
        with waiting.sessions.begin() as session:
            queue.submit(session, waiting, task.id, task.token, [CAR], "anna")

    def imported() -> None:
        together.wait(30 * PATIENCE)
        coco.import_coco(waiting, document, "tool")

    def tick() -> None:
        together.wait(30 * PATIENCE)
        with waiting.sessions.begin() as session:
            cycles.advance_waiting(session, waiting)

    with ThreadPoolExecutor(TASKS + 1) as people:
        done = [people.submit(answer, task) for task in leased]
        done += [people.submit(imported), people.submit(tick)]
        for one in done:
            one.result(60 * PATIENCE)

    with waiting.sessions() as session:
        assert set(session.scalars(select(LabelTask.state))) == {TaskState.SUBMITTED}
        assert len(session.scalars(select(Annotation)).all()) == TASKS
        assert [unit.kind for unit in session.scalars(select(Unit))] == ["train"]


def test_a_task_that_was_closed_stays_its_owners_until_he_gives_it_up(waiting: Context) -> None:
    with waiting.sessions() as session:
        document = as_saved(coco.export_coco(session)[0])
    skipped, given_back, answered = lease(waiting, count=3, lease_s=LONG_S)
    with waiting.sessions.begin() as session:
        cycles.cancel(session, waiting, session.scalars(select(Cycle)).one().id, "test")

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, len(report.problems)) == (TASKS - 3, 3)
    assert all("is leased by anna" in one.message for one in report.problems)
    with waiting.sessions.begin() as session:
        left = queue.skip(session, waiting, skipped.id, skipped.token, "too dark")
        assert (left.state, left.note) == ("skipped", "too dark")
        left = queue.release(session, given_back.id, given_back.token)
        assert (left.state, left.note) == ("skipped", "closed: the cycle was cancelled")
    submit(waiting, answered, CAR, CARS[1])
    again = coco.import_coco(waiting, document, "tool")
    assert (again.submitted, again.late, again.unchanged) == (1, 1, TASKS - 3)
    refused = {one.message.partition(";")[0] for one in again.problems}
    assert refused == {
        f"left out: task {skipped.id} is skipped already",
        f"left out: task {answered.id} is submitted already, with another answer",
    }
