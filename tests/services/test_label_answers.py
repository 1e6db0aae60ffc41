"""What counts as an answer: in all the ways in which label tools hand one back."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import select

from curation.formats.coco_document import read_document
from curation.kernel.errors import AnnotationsInvalid
from services.context import Context
from services.db.tables import Image, LabelTask, TaskState
from services.labeling import coco
from tests.services.commands import CommandLine
from tests.services.label_queue import TASKS, add_labelling, annotations, answered
from tests.services.test_labels_cli import asked as asked

Change = Callable[[dict[str, Any]], None]


def _export(context: Context) -> dict[str, Any]:
    with context.sessions() as session:
        return coco.export_coco(session)[0]


def _objects(context: Context) -> list[list[dict[str, Any]]]:
    return [one.objects for one in annotations(context)]


def _waiting(context: Context) -> int:
    with context.sessions() as session:
        query = select(LabelTask.id).where(LabelTask.state == TaskState.WAITING)
        return len(session.scalars(query).all())


def test_images_as_they_were_exported_are_no_answers(waiting: Context) -> None:
    """The pre-labels of a failure are what the champion saw: nothing of it was learnt."""
    document = _export(waiting)
    document["annotations"][0]["bbox"] = [3, 3, 8.5, 6]  # one is corrected, with its score

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, len(report.left_untouched), report.problems) == (1, TASKS - 1, [])
    assert not report.is_whole
    assert _waiting(waiting) == TASKS - 1
    taken = coco.import_coco(waiting, document, "tool", take_untouched=True)
    assert (taken.submitted, taken.unchanged, taken.is_whole) == (TASKS - 1, 1, True)


def _without_score(entry: dict[str, Any]) -> None:
    del entry["score"]


def _other_score(entry: dict[str, Any]) -> None:
    entry["score"] = 0.71


@pytest.mark.parametrize("change", [_without_score, _other_score])
def test_prelabels_that_a_tool_has_saved_are_answers(waiting: Context, change: Change) -> None:
    document = _export(waiting)
    for entry in document["annotations"]:
        change(entry)
    report = coco.import_coco(waiting, document, "tool")
    assert (report.submitted, report.left_untouched) == (TASKS, [])


def test_images_without_objects_are_answers_only_if_it_is_said(waiting: Context) -> None:
    document = answered(_export(waiting))
    document["annotations"] = document["annotations"][:1]

    report = coco.import_coco(waiting, document, "tool")

    assert (report.submitted, report.boxes, report.empty) == (1, 1, 0)
    assert len(report.left_empty) == TASKS - 1
    assert document["images"][1]["file_name"] in report.left_empty[0]
    assert (_waiting(waiting), report.is_whole) == (TASKS - 1, False)
    document["images"][1]["e2x_done"] = True
    done = coco.import_coco(waiting, document, "tool")
    assert (done.submitted, done.empty, len(done.left_empty)) == (1, 1, TASKS - 2)
    taken = coco.import_coco(waiting, document, "tool", take_empty=True)
    assert (taken.submitted, taken.empty, taken.unchanged) == (TASKS - 2, TASKS - 2, 2)
    assert taken.to_dict()["empty"] == TASKS - 2
    assert coco.import_coco(waiting, document, "tool").is_whole  # what is stored needs no saying


def test_an_unfinished_export_does_not_undo_answers(waiting: Context) -> None:
    document = answered(_export(waiting))
    assert coco.import_coco(waiting, document, "anna").submitted == TASKS
    report = coco.import_coco(waiting, {**document, "annotations": []}, "tool", replace=True)
    assert (report.replaced, len(report.left_empty)) == (0, TASKS)


def _all(context: Context, change: Change, **options: Any) -> coco.LabelImport:
    """Import an answer of which each object was changed."""
    document = answered(_export(context))
    for entry in document["annotations"]:
        change(entry)
    return coco.import_coco(context, document, "tool", **options)


FLAGS = [
    ({"iscrowd": "0"}, False),
    ({"iscrowd": "1"}, True),
    ({"ignore": 1}, True),
    ({"iscrowd": 0, "difficult": "true"}, True),
]


@pytest.mark.parametrize(("flags", "ignored"), FLAGS)
def test_flags_are_read_as_at_an_import(
    waiting: Context, flags: dict[str, Any], ignored: bool
) -> None:
    report = _all(waiting, lambda entry: entry.update(flags))
    assert report.submitted == TASKS
    assert {one["ignore"] for (one,) in _objects(waiting)} == {ignored}


def test_a_flag_that_says_nothing_is_refused(waiting: Context) -> None:
    report = _all(waiting, lambda entry: entry.update(iscrowd=2))
    assert report.submitted == 0
    assert {"left out: `iscrowd` is '2': give 0 or 1"} == {one.message for one in report.problems}


def test_rotated_rectangles_are_refused_or_enclosed(waiting: Context) -> None:
    def turn(entry: dict[str, Any]) -> None:
        entry.update(bbox=[20, 20, 20, 8], attributes={"rotation": 45.0})

    refused = _all(waiting, turn)
    assert refused.submitted == 0
    assert all("rotated by 45 degrees" in one.message for one in refused.problems)
    taken = _all(waiting, turn, enclose_rotated=True)
    assert (taken.submitted, taken.problems) == (TASKS, [])
    assert _objects(waiting)[0][0]["box"] == [20.1, 14.1, 39.9, 33.9]
    assert "6 rotated rectangles became the upright boxes around them" in taken.notes


def test_what_a_turn_took_out_of_the_picture_is_cut_as_at_an_import(waiting: Context) -> None:
    """Pictures of 64x48: standing up, a bar of 40 px at the upper border reaches out by 8."""

    def turn(entry: dict[str, Any]) -> None:
        entry.update(bbox=[12, 7, 40, 10], attributes={"rotation": 90.0})

    taken = _all(waiting, turn)
    assert (taken.submitted, taken.problems) == (TASKS, [])
    assert _objects(waiting)[0][0]["box"] == [27.0, 0.0, 37.0, 32.0]
    assert "6 boxes left their pictures and were cut at the border" in taken.notes


def test_a_rectangle_that_leaves_the_picture_unturned_is_left_out(waiting: Context) -> None:
    def turn(entry: dict[str, Any]) -> None:
        entry.update(bbox=[12, -9, 40, 10], attributes={"rotation": 90.0})

    refused = _all(waiting, turn)
    assert refused.submitted == 0
    assert all("leaves the 64x48 image" in one.message for one in refused.problems)


def test_outlines_become_boxes(waiting: Context) -> None:
    def outline(entry: dict[str, Any]) -> None:
        del entry["bbox"]
        entry["segmentation"] = [[10, 10, 40, 10, 40, 30]]

    report = _all(waiting, outline)
    assert (report.submitted, report.problems) == (TASKS, [])
    assert _objects(waiting)[0][0]["box"] == [10, 10, 40, 30]
    assert any("have an outline and no box" in note for note in report.notes)


def test_ids_of_annotations_do_not_matter(waiting: Context) -> None:
    assert _all(waiting, lambda entry: entry.update(id=1)).submitted == TASKS


def test_the_same_object_twice_is_one(waiting: Context) -> None:
    document = answered(_export(waiting))
    document["annotations"] += document["annotations"]
    report = coco.import_coco(waiting, document, "tool")
    assert (report.submitted, report.boxes) == (TASKS, TASKS)
    assert any("6 rows say again" in note for note in report.notes)


def test_an_object_with_a_key_twice_is_refused(waiting: Context, tmp_path: Path) -> None:
    document = answered(_export(waiting))
    file = tmp_path / "answers.json"
    text = json.dumps(document)
    file.write_text(text.replace('"bbox": [', '"bbox": [1, 1, 9, 9], "bbox": [', 1))
    report = coco.import_coco(waiting, read_document(file), "tool")
    assert report.submitted == TASKS - 1
    assert "`bbox` appears twice" in report.problems[0].message


def test_corners_for_sides_are_told_where_the_file_has_no_sizes(waiting: Context) -> None:
    document = answered(_export(waiting))
    for entry in document["images"]:
        del entry["width"], entry["height"]
    for entry in document["annotations"]:
        entry["bbox"] = [30, 20, 60, 40]
    with pytest.raises(AnnotationsInvalid, match=r"look like \[x1, y1, x2, y2\]"):
        coco.import_coco(waiting, document, "tool")


NAMES: dict[str, Callable[[str], str]] = {
    "address": lambda name: f"https://store.example/b/{quote(name)}?sig=1",
    "local files": lambda name: f"/data/local-files/?d=set/images/{quote(name)}",
    "local files without folder": lambda name: f"/data/local-files/?d={quote(name)}",
    "encoded": lambda name: f"images/1/0123abcd-{name.replace('.', '%2E')}",
    "backslash": lambda name: f"C:\\set\\{name}",
    "upload": lambda name: f"upload/3/0123abcd-{name}",
    "old upload": lambda name: f"upload/3/0123abcd__{name}",
    "capitals": lambda name: name.replace(".png", ".PNG"),
    "decomposed": lambda name: unicodedata.normalize("NFD", name),
}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", NAMES)
def test_names_as_tools_write_them(waiting: Context, written: str, form: str) -> None:
    document = answered(_export(waiting))
    with waiting.sessions.begin() as session:
        for number, entry in enumerate(document["images"]):
            name = f"caf\u00e9 {number}.png"
            stored = session.get_one(Image, entry["e2x_image"])
            stored.name = unicodedata.normalize(form, name)
            entry["file_name"] = NAMES[written](name)
            del entry["e2x_image"], entry["e2x_task"], entry["e2x_name"]
    report = coco.import_coco(waiting, document, "tool")
    assert (report.submitted, report.problems) == (TASKS, [])


def test_exported_names_in_an_address(waiting: Context) -> None:
    document = answered(_export(waiting))
    for entry in document["images"]:
        entry["file_name"] = f"/data/local-files/?d={entry['file_name']}"
        del entry["e2x_image"]
    assert coco.import_coco(waiting, document, "tool").submitted == TASKS


def test_the_api_takes_the_same_words(client: httpx.Client, api: Context) -> None:
    with api.sessions.begin() as session:
        cycle, images = add_labelling(session, 9, 2)
        session.add_all(LabelTask(cycle_id=cycle.id, image_id=image.id) for image in images)
    document = client.get("/labels/export").json()
    said = client.post("/labels/import", json=document).json()
    assert (said["submitted"], len(said["left_empty"]), said["left_untouched"]) == (0, 2, [])
    taken = client.post("/labels/import?take_empty=true", json=document).json()
    assert (taken["submitted"], taken["empty"]) == (2, 2)


def test_the_command_line_says_what_was_left_as_it_is(asked: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    file = out / "annotations.json"
    document = json.loads(file.read_text())
    document["annotations"] = document["annotations"][:1]
    file.write_text(json.dumps(document))

    told = asked.run("labels", "import", out)
    taken = asked.done("labels", "import", out, "--take-empty", "--take-untouched")

    assert told.code == 1
    assert "0 tasks answered" in told.out
    assert "1 images without objects were left as they are" in told.out
    assert "1 images with the pre-labels as they were exported" in told.out
    assert "2 tasks answered with 1 boxes; 1 of them say that nothing is there" in taken.out


def test_the_folder_of_another_tool_is_read(asked: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    asked.done("labels", "export", "--out", out)
    document = json.loads((out / "annotations.json").read_text())
    cvat = tmp_path / "cvat" / "annotations"
    cvat.mkdir(parents=True)
    (cvat / "instances_default.json").write_text(json.dumps(answered(document)))
    assert "2 tasks answered" in asked.done("labels", "import", tmp_path / "cvat").out
    (cvat / "instances_other.json").write_text(json.dumps(document))
    assert "has several COCO files" in asked.refused("labels", "import", tmp_path / "cvat")
    archive = tmp_path / "export.zip"
    archive.write_bytes(b"PK\x03\x04")
    assert "an archive: unpack it" in asked.refused("labels", "import", archive)
