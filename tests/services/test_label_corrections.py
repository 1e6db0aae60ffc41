"""A wrong answer is corrected at any time: as a revision, for the next dataset version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from curation.errors import AnnotationsInvalid
from services import cycles, datasets
from services.context import Context
from services.db.tables import Annotation, Cycle, CycleState, LabelTask, TaskState
from services.errors import Conflict, LeaseLost
from services.labeling import answers, coco, queue
from tests.services.api_server import error_of
from tests.services.commands import CommandLine
from tests.services.label_queue import CAR, TASKS, add_labelling, lease, submit

NEW_BOX = [5, 6, 7, 8]
NEW = {"box": [5, 6, 12, 14], "label": "car", "ignore": False}


def _export(context: Context) -> dict[str, Any]:
    with context.sessions() as session:
        document, _images = coco.export_coco(session)
    return document


def _corrected(document: dict[str, Any], *positions: int) -> dict[str, Any]:
    """The document with another box in some of its annotations."""
    changed = [
        {**entry, "bbox": NEW_BOX} if position in positions else entry
        for position, entry in enumerate(document["annotations"])
    ]
    return {**document, "annotations": changed}


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
    report = coco.import_coco(waiting, _corrected(document, 0), "bert")
    (problem,) = report.problems
    assert "is submitted already, with another answer; a wrong answer" in problem.message
    assert "`e2x labels import --replace`" in problem.message
    assert (report.submitted, report.replaced, report.boxes) == (0, 0, 0)
    assert len(_revisions(waiting, document["images"][0]["id"])) == 1


def test_a_correction_is_what_a_waiting_cycle_trains_on(waiting: Context) -> None:
    document = _answered(waiting, 2)
    task = document["images"][0]["id"]

    report = coco.import_coco(waiting, _corrected(document, 0), "bert", replace=True)

    assert (report.replaced, report.unchanged, report.submitted) == (1, 1, 0)
    assert (report.late, report.boxes, report.problems) == (0, 1, [])
    first, second = _revisions(waiting, task)
    assert (first[:2], second) == ((1, "anna"), (2, "bert", [NEW]))
    with waiting.sessions() as session:
        cycle = session.scalars(select(Cycle)).one()
        assert [NEW] in [one.objects for one in answers.answers(session, cycle)]
        rows = session.scalars(select(Annotation).where(Annotation.author == "bert")).all()
        assert [(row.cycle_id, row.origin) for row in rows] == [(cycle.id, f"{TASKS:064x}")]
    again = coco.import_coco(waiting, _corrected(document, 0), "bert", replace=True)
    assert (again.replaced, again.unchanged) == (0, 2)


def test_an_import_that_replaces_answers_open_tasks_as_well(waiting: Context) -> None:
    document = _export(waiting)
    _answered(waiting, 2)
    report = coco.import_coco(waiting, _corrected(document, 0, 3), "bert", replace=True)
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
        before = datasets.build_version(session, waiting, session.get_one(Cycle, number))
        path = waiting.project.manifests / before.file
    frozen = path.read_bytes()
    boxes = _cycle(waiting).boxes_labelled

    report = coco.import_coco(waiting, _corrected(document, 0), "bert", replace=True)

    assert (report.replaced, report.late, report.problems) == (1, 1, [])
    changed = _task(waiting, task)
    assert (changed.state, changed.note) == (TaskState.SUBMITTED, answers.CORRECTED)
    assert (_cycle(waiting).state, _cycle(waiting).boxes_labelled) == (CycleState.TRAINING, boxes)
    assert path.read_bytes() == frozen
    with waiting.sessions.begin() as session:
        after = datasets.build_version(session, waiting, None)
        assert after.id != before.id
        items = {item.image: item for item in datasets.read_version(waiting, after).items}
    corrected = items[changed.image_id]
    assert (corrected.revision, corrected.boxes_xyxy) == (2, ((5.0, 6.0, 12.0, 14.0),))


def test_an_answer_can_be_corrected_to_nothing_and_back(waiting: Context) -> None:
    document = _answered(waiting, 1)
    nothing = {**document, "annotations": []}
    for said in (nothing, document):
        assert coco.import_coco(waiting, said, "bert", replace=True).replaced == 1
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


def test_a_file_that_answers_twice_replaces_once(waiting: Context) -> None:
    document = _corrected(_answered(waiting, 1), 0)
    document["images"] = [*document["images"], {**document["images"][0], "id": 4711}]
    report = coco.import_coco(waiting, document, "bert", replace=True)
    assert report.replaced == 1
    (problem,) = report.problems
    assert f"the file answers task {document['images'][0]['id']} twice" in problem.message


def test_the_owner_is_told_how_an_answer_is_corrected_after_the_cycle(waiting: Context) -> None:
    (mine,) = lease(waiting)
    submit(waiting, mine, CAR)
    with waiting.sessions.begin() as session:
        cycles.train_with_what_is_there(session, waiting, _cycle(waiting).id)
    with pytest.raises(Conflict, match=r"labels are closed .* --replace"):
        submit(waiting, mine, CAR, CAR)


def test_the_api_replaces_where_it_is_told_to(client: httpx.Client, api: Context) -> None:
    with api.sessions.begin() as session:
        cycle, images = add_labelling(session, 9, 2)
        session.add_all(LabelTask(cycle_id=cycle.id, image_id=image.id) for image in images)
    document = client.get("/labels/export").json()
    one = {**document, "images": document["images"][:1], "annotations": []}
    assert client.post("/labels/import", json=one).json()["submitted"] == 1
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


@pytest.fixture
def asked(champion: CommandLine) -> CommandLine:
    """A command line in a project that asks for labels of two images, which lie in its store."""
    with champion.opened() as context, context.sessions.begin() as session:
        images = _stored_images(context)
        cycle = Cycle(policy="random", budget_boxes=9, champion_id=f"{1:064x}", state="labelling")
        session.add_all([cycle, *images])
        session.flush()
        session.add_all(
            LabelTask(
                cycle_id=cycle.id,
                image_id=one.id,
                prelabels=[{"box": [1.0, 2.0, 9.5, 8.0], "label": "car", "score": 0.7}],
            )
            for one in images
        )
    return champion


def _stored_images(context: Context) -> list[Any]:
    from services.db.tables import Image, Role
    from services.storage import put_image
    from tests import bad_images

    found = []
    for seed in (1, 2):
        stored = put_image(context.project, bad_images.png(seed))
        found.append(
            Image(
                id=stored.id,
                role=Role.POOL,
                file=stored.file,
                name=f"{seed}.png",
                width_px=stored.width_px,
                height_px=stored.height_px,
                perceptual_hash=stored.perceptual_hash,
            )
        )
    return found


def test_the_command_line_corrects_answers(asked: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    asked.done("labels", "import", out, "--author", "anna")
    file = out / "annotations.json"
    file.write_text(json.dumps(_corrected(json.loads(file.read_text()), 1)))

    refused = asked.run("labels", "import", out)
    done = asked.done("labels", "import", out, "--replace", "--author", "bert")

    assert refused.code == 1
    assert "--replace" in refused.out
    assert "0 tasks answered, 1 answers replaced with 1 boxes" in done.out
    assert "1 of them late" in done.out
    with asked.opened() as context, context.sessions() as session:
        rows = session.scalars(select(Annotation).where(Annotation.author == "bert")).all()
        assert [(row.revision, row.objects) for row in rows] == [(2, [NEW])]


def test_annotations_that_somebody_has_edited_are_not_written_over(
    asked: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    asked.done("labels", "export", "--out", out)  # the same is no loss
    file = out / "annotations.json"
    edited = json.dumps(_corrected(json.loads(file.read_text()), 0))
    file.write_text(edited)

    said = asked.refused("labels", "export", "--out", out)

    assert "it may hold somebody's work; name another folder, or say --overwrite" in said
    assert file.read_text() == edited
    asked.done("labels", "export", "--out", out, "--overwrite")
    assert file.read_text() != edited


def test_an_image_that_a_broken_off_export_left_is_made_whole(
    asked: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    whole = {file: file.read_bytes() for file in (out / "images").iterdir()}
    first, second = sorted(whole)
    first.write_bytes(whole[first][:100])
    second.unlink()

    asked.done("labels", "export", "--out", out)

    assert {file: file.read_bytes() for file in (out / "images").iterdir()} == whole


def test_a_byte_order_mark_is_read_over(asked: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    file = out / "annotations.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert "2 tasks answered" in asked.done("labels", "import", out).out
