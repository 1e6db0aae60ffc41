"""A wrong answer is corrected at any time: as a revision, for the next dataset version."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from curation.kernel.errors import AnnotationsInvalid
from services.context import Context
from services.cycle import cycles, label_tasks
from services.db.tables import Annotation, Cycle, CycleState, LabelTask, TaskState
from services.errors import Conflict, LeaseLost
from services.labeling import answers, coco, queue
from services.models import datasets
from tests.services.api_server import error_of
from tests.services.label_queue import (
    CAR,
    NEW,
    NEW_BOX,
    TASKS,
    add_labelling,
    answered,
    corrected,
    lease,
    submit,
)


def _export(context: Context) -> dict[str, Any]:
    with context.sessions() as session:
        document, _images = coco.export_coco(session)
    return answered(document)


def _revisions(context: Context, task_id: int) -> list[tuple[int, str, list[Any]]]:
    with context.sessions() as session:
        image = session.get_one(LabelTask, task_id).image_id
        query = select(Annotation).where(Annotation.image_id == image)
        rows = session.scalars(query.order_by(Annotation.revision)).all()
        return [(row.revision, row.author, row.objects) for row in rows]


def _task(context: Context, task_id: int) -> LabelTask:
    with context.sessions() as session:
        return session.get_one(LabelTask, task_id)


def _cycle(context: Context) -> Cycle:
    with context.sessions() as session:
        return session.scalars(select(Cycle)).one()


def _answered(context: Context, count: int) -> dict[str, Any]:
    """The exported document, of which the first ``count`` images are answered."""
    document = _export(context)
    part = {**document, "images": document["images"][:count], "annotations": []}
    part["annotations"] = document["annotations"][:count]
    assert coco.import_coco(context, part, "anna").submitted == count
    return part


def test_without_being_told_an_import_replaces_nothing(waiting: Context) -> None:
    document = _answered(waiting, 1)
    report = coco.import_coco(waiting, corrected(document, 0), "bert")
    (problem,) = report.problems
    assert "is submitted already, with another answer; a wrong answer" in problem.message
    assert "`e2x labels import --replace`" in problem.message
    assert (report.submitted, report.replaced, report.boxes) == (0, 0, 0)
    assert len(_revisions(waiting, document["images"][0]["id"])) == 1


def test_a_correction_is_what_a_waiting_cycle_trains_on(waiting: Context) -> None:
    document = _answered(waiting, 2)
    task = document["images"][0]["id"]

    report = coco.import_coco(waiting, corrected(document, 0), "bert", replace=True)

    assert (report.replaced, report.unchanged, report.submitted) == (1, 1, 0)
    assert (report.late, report.boxes, report.problems) == (0, 1, [])
    first, second = _revisions(waiting, task)
    assert (first[:2], second) == ((1, "anna"), (2, "bert", [NEW]))
    with waiting.sessions() as session:
        cycle = session.scalars(select(Cycle)).one()
        assert [NEW] in [one.objects for one in label_tasks.answers(session, cycle)]
        rows = session.scalars(select(Annotation).where(Annotation.author == "bert")).all()
        assert [(row.cycle_id, row.origin) for row in rows] == [(cycle.id, f"{TASKS:064x}")]
    again = coco.import_coco(waiting, corrected(document, 0), "bert", replace=True)
    assert (again.replaced, again.unchanged) == (0, 2)


def test_an_import_that_replaces_answers_open_tasks_as_well(waiting: Context) -> None:
    document = _export(waiting)
    _answered(waiting, 2)
    report = coco.import_coco(waiting, corrected(document, 0, 3), "bert", replace=True)
    assert (report.replaced, report.unchanged, report.submitted) == (1, 1, TASKS - 2)
    assert _cycle(waiting).state == CycleState.TRAINING


def test_a_correction_that_spends_the_budget_lets_the_cycle_go_on(waiting: Context) -> None:
    document = _answered(waiting, 2)
    with waiting.sessions.begin() as session:
        session.scalars(select(Cycle)).one().budget_boxes = 3
    more = {**document["annotations"][0], "id": 99, "bbox": NEW_BOX}
    document["annotations"] = [*document["annotations"], more]

    report = coco.import_coco(waiting, document, "bert", replace=True)

    assert (report.replaced, report.boxes, report.late) == (1, 2, 0)
    cycle = _cycle(waiting)
    assert (cycle.state, cycle.boxes_labelled) == (CycleState.TRAINING, 3)


def test_a_correction_after_the_cycle_is_for_the_next_dataset_version(waiting: Context) -> None:
    document = _answered(waiting, 2)
    task = document["images"][0]["id"]
    number = _cycle(waiting).id
    with waiting.sessions.begin() as session:
        cycles.train_with_what_is_there(session, waiting, number)
    before = datasets.build_version(waiting, number)
    path = waiting.project.manifests / before.file
    frozen = path.read_bytes()
    boxes = _cycle(waiting).boxes_labelled

    report = coco.import_coco(waiting, corrected(document, 0), "bert", replace=True)

    assert (report.replaced, report.late, report.problems) == (1, 1, [])
    changed = _task(waiting, task)
    assert (changed.state, changed.note) == (TaskState.SUBMITTED, answers.CORRECTED)
    assert (_cycle(waiting).state, _cycle(waiting).boxes_labelled) == (CycleState.TRAINING, boxes)
    assert path.read_bytes() == frozen
    after = datasets.build_version(waiting)
    assert after.id != before.id
    items = {item.image: item for item in datasets.read_version(waiting, after).items}
    item = items[changed.image_id]
    assert (item.revision, item.boxes_xyxy) == (2, ((5.0, 6.0, 12.0, 14.0),))


def test_an_answer_can_be_corrected_to_nothing_and_back(waiting: Context) -> None:
    document = _answered(waiting, 1)
    nothing = {**document, "annotations": []}
    for said in (nothing, document):
        done = coco.import_coco(waiting, said, "bert", replace=True, take_empty=True)
        assert (done.replaced, done.empty) == (1, said is nothing)
    found = _revisions(waiting, document["images"][0]["id"])
    assert [(revision, len(objects)) for revision, _, objects in found] == [(1, 1), (2, 0), (3, 1)]


def test_the_old_answer_sent_once_more_does_not_undo_a_correction(waiting: Context) -> None:
    (mine,) = lease(waiting, "anna")
    submit(waiting, mine, CAR)
    document = _export(waiting)
    file = {
        **document,
        "images": [{"id": 1, "file_name": f"{mine.image_id}.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": NEW_BOX}],
    }
    assert coco.import_coco(waiting, file, "bert", replace=True).replaced == 1

    with pytest.raises(LeaseLost, match="corrected by `e2x labels import --replace`"):
        submit(waiting, mine, CAR)

    assert _revisions(waiting, mine.id)[-1] == (2, "bert", [NEW])


def test_what_a_person_skipped_or_rejected_is_not_replaced(waiting: Context) -> None:
    document = _export(waiting)
    first, second = lease(waiting, count=2)
    with waiting.sessions.begin() as session:
        queue.skip(session, waiting, first.id, first.token, "too dark")
        queue.reject(session, waiting, second.id, second.token)
    report = coco.import_coco(waiting, document, "bert", replace=True)
    assert (report.submitted, report.replaced, len(report.problems)) == (TASKS - 2, 0, 2)


def test_a_file_that_answers_twice_replaces_only_what_it_says_twice(waiting: Context) -> None:
    document = corrected(_answered(waiting, 1), 0)
    document["images"] = [*document["images"], {**document["images"][0], "id": 4711}]
    first = document["annotations"][0]
    for bbox, replaced in (([1, 2, 9, 9], 0), (first["bbox"], 1)):
        document["annotations"] = [first, {**first, "id": 4711, "image_id": 4711, "bbox": bbox}]
        report = coco.import_coco(waiting, document, "bert", replace=True)
        assert (report.replaced, len(report.problems)) == (replaced, 2 - 2 * replaced)
        said = f"the file answers task {document['images'][0]['id']} 2 times"
        assert all(said in one.message for one in report.problems)


def test_the_owner_is_told_how_an_answer_is_corrected_after_the_cycle(waiting: Context) -> None:
    (mine,) = lease(waiting)
    submit(waiting, mine, CAR)
    with waiting.sessions.begin() as session:
        cycles.train_with_what_is_there(session, waiting, _cycle(waiting).id)
    with pytest.raises(Conflict, match=r"labels are closed .* --replace"):
        submit(waiting, mine, CAR, {**CAR, "box": [1, 1, 9, 9]})


def test_the_api_replaces_where_it_is_told_to(client: httpx.Client, api: Context) -> None:
    with api.sessions.begin() as session:
        cycle, images = add_labelling(session, 9, 2)
        session.add_all(LabelTask(cycle_id=cycle.id, image_id=image.id) for image in images)
    document = client.get("/labels/export").json()
    one = {**document, "images": document["images"][:1], "annotations": []}
    assert client.post("/labels/import?take_empty=true", json=one).json()["submitted"] == 1
    box = {"id": 1, "image_id": one["images"][0]["id"], "category_id": 1, "bbox": NEW_BOX}
    other = {**one, "annotations": [box]}
    assert client.post("/labels/import", json=other).json()["replaced"] == 0

    told = client.post("/labels/import?replace=true&author=bert", json=other).json()

    assert (told["replaced"], told["boxes"], told["problems"]) == (1, 1, [])
    task = one["images"][0]["id"]
    stale = {"token": 1, "objects": []}
    said = error_of(client.post(f"/tasks/{task}/submit", json=stale), 409, "lease_lost")
    assert "--replace" in said


def _shifted(document: dict[str, Any]) -> None:
    document["annotations"] = [{**one, "category_id": 0} for one in document["annotations"]]


def _corners(document: dict[str, Any]) -> None:
    corners = [30, 20, 50, 40]
    document["annotations"] = [{**one, "bbox": corners} for one in document["annotations"]]


@pytest.mark.parametrize(("spoil", "said"), [(_shifted, "from 0"), (_corners, "x1, y1, x2, y2")])
def test_labels_that_are_wrong_as_a_whole_are_refused(
    waiting: Context, spoil: Any, said: str
) -> None:
    document = _export(waiting)
    spoil(document)
    with pytest.raises(AnnotationsInvalid, match=f"{said}.*; nothing of them was stored"):
        coco.import_coco(waiting, document, "bert")


def test_ids_that_a_table_program_wrote_as_floats_are_understood(waiting: Context) -> None:
    document = _export(waiting)
    for image in document["images"]:
        image["id"] = float(image["id"])
    for entry in document["annotations"]:
        entry["category_id"] = float(entry["category_id"])
    report = coco.import_coco(waiting, document, "tool")
    assert (report.submitted, report.boxes, report.problems) == (TASKS, TASKS, [])


def test_a_picture_of_another_size_is_another_one_whatever_its_name(waiting: Context) -> None:
    document = _export(waiting)
    document["images"][0]["width"] *= 2
    document["images"][1]["height"] = "unknown"
    del document["images"][2]["e2x_image"]
    document["images"][2]["height"] //= 2
    report = coco.import_coco(waiting, document, "tool")
    assert report.submitted == TASKS - 2
    assert all("px, this one" in one.message for one in report.problems)
    assert len(report.problems) == 2
