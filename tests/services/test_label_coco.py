"""Label tasks out as COCO and back: by any tool, under any name, without loss for the others."""

from __future__ import annotations

from typing import Any

import pytest

from curation.kernel.errors import AnnotationsInvalid
from services.context import Context
from services.db.tables import Image, LabelTask, TaskState
from services.labeling import coco
from tests.services.label_queue import CAR, TASKS, annotations, answered, lease, submit


def _export(context: Context) -> dict[str, Any]:
    with context.sessions() as session:
        document, images = coco.export_coco(session)
    assert [image.id for image in images] == [one["e2x_image"] for one in document["images"]]
    return answered(document)


def test_prelabels_go_out_and_come_back_as_labels(waiting: Context) -> None:
    document = _export(waiting)
    assert [one["e2x_reason"] for one in document["images"]] == ["a missed car"] * TASKS
    assert document["categories"] == [{"id": 1, "name": "car"}]
    for image in document["images"]:
        del image["e2x_task"], image["e2x_image"], image["e2x_reason"]

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, report.boxes, report.problems) == (TASKS, TASKS, [])
    stored = annotations(waiting)
    expected = [{"box": [1, 2, 9.5, 8], "label": "car", "ignore": False}]
    assert [one.objects for one in stored] == [expected] * TASKS
    assert len({one.image_id for one in stored}) == TASKS
    assert _export(waiting)["images"] == []


def test_labels_that_come_back_twice_are_stored_once(waiting: Context) -> None:
    document = _export(waiting)
    coco.import_coco(waiting, document, "tool")

    again = coco.import_coco(waiting, document, "tool")

    assert (again.submitted, again.unchanged, again.problems) == (0, TASKS, [])
    assert len(annotations(waiting)) == TASKS


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
    answered = {one.image_id for one in annotations(waiting)}
    assert {one["e2x_image"] for one in asked} == answered
    again = coco.import_coco(waiting, document, "tool")
    assert (again.submitted, again.unchanged, again.problems) == (0, TASKS, [])


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
    assert len(annotations(waiting)) == TASKS - 1
    with waiting.sessions() as session:
        assert session.get_one(LabelTask, bad).state == TaskState.WAITING


def test_an_import_leaves_leased_tasks_to_their_owners(waiting: Context) -> None:
    document = _export(waiting)
    (leased,) = lease(waiting, "anna")

    report = coco.import_coco(waiting, document, "tool")

    assert report.submitted == TASKS - 1
    assert "is leased by anna" in report.problems[0].message
    assert submit(waiting, leased, CAR).revision == 1


@pytest.mark.parametrize("document", [[], {"images": []}, {"images": [1]}, None])
def test_what_is_no_coco_is_refused_whole(waiting: Context, document: Any) -> None:
    with pytest.raises(AnnotationsInvalid, match="not a COCO file"):
        coco.import_coco(waiting, document, "tool")
