"""CVAT: its XML out and back, and what is said to its server in the models of its SDK."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curation.kernel.errors import AnnotationsInvalid
from services.context import Context
from services.labeling import coco, cvat_xml
from services.labeling.connectors.protocol import Outgoing
from tests.services.commands import CommandLine
from tests.services.label_queue import TASKS, annotations

models = pytest.importorskip("cvat_sdk.models", reason="pip install e2x[cvat]")
cvat_models = pytest.importorskip("services.labeling.connectors.cvat_models")

MARK = "0123456789abcdef"
TASK = Outgoing(
    task_id=7,
    image_id="ab" * 32,
    size_wh=(64, 48),
    picture_url="http://e2x/i/1-2-3/ab.png",
    name="seven.png",
    reason="a missed car",
    prelabels=[{"box": [1.0, 2.0, 9.5, 8.0], "label": "car", "score": 0.7}],
    model="m1",
)
LABELS = {"car": 3, "bus": 4}
SIZES = {7: (64, 48)}


def _exported(context: Context) -> str:
    with context.sessions() as session:
        document, _images = coco.export_coco(session)
    return cvat_xml.written(document).decode()


def _with(xml: str, *frames: str) -> dict[str, Any]:
    """The exported XML with other things in its first frames, as CVAT writes it back."""
    whole = re.findall(r"<image [^>]*>.*?</image>", xml, flags=re.S)
    for place, inside in enumerate(frames):
        opening = re.match(r"<image [^>]*>", whole[place])
        assert opening is not None
        xml = xml.replace(whole[place], f"{opening[0]}{inside}</image>")
    return cvat_xml.document_of(xml.encode())


def box(*corners: float, **more: Any) -> str:
    told = dict(zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)) | more
    words = " ".join(f'{key}="{value}"' for key, value in told.items())
    return f'<box label="car" {words} occluded="0"><attribute name="a">b</attribute></box>'


def test_xml_goes_out_and_comes_back_as_answers(waiting: Context) -> None:
    xml = _exported(waiting)
    assert '<box label="car" source="auto" occluded="0" xtl="1.00" ytl="2.00"' in xml
    document = _with(
        xml,
        box(2, 3, 12, 11, source="manual"),
        box(20, 10, 50, 30, source="manual", rotation=30),
        box(20, 10, 30, 20, source="manual", rotation=90),
        "",  # a frame that nobody opened looks like one with nothing in it
        '<polygon label="car" source="manual" points="1,1;9,1;9,9;1,9"/><tag label="night"/>',
    )

    report = coco.import_coco(waiting, document, "cvat")

    assert (report.submitted, len(report.left_empty), len(report.left_untouched)) == (3, 1, 1)
    (problem,) = report.problems
    assert "rotated by 30 degrees" in problem.message
    found = {tuple(one.objects[0]["box"]) for one in annotations(waiting)}
    assert found == {(2, 3, 12, 11), (20, 10, 30, 20), (1, 1, 9, 9)}
    again = coco.import_coco(
        waiting, document, "cvat", enclose_rotated=True, take_empty=True, take_untouched=True
    )
    assert (again.submitted, again.empty, again.unchanged) == (TASKS - 3, 1, 3)


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "entities"),
        ("<annotations><meta/><track/></annotations>", "video"),
        ("<annotation><size/></annotation>", "is not"),
        ("{}", "no XML"),
    ],
)
def test_what_is_no_xml_of_cvat_is_refused(xml: str, why: str) -> None:
    with pytest.raises(AnnotationsInvalid, match=why):
        cvat_xml.document_of(xml.encode())


def test_other_shapes_are_told_and_cost_the_others_nothing(waiting: Context) -> None:
    document = _with(
        _exported(waiting),
        '<ellipse label="car" source="manual" cx="4" cy="4" rx="2" ry="1"/>',
        box(2, 3, 12, 11, source="manual"),
        box(2, 3, 12, float("nan"), source="manual"),
    )
    report = coco.import_coco(waiting, document, "cvat")
    assert (report.submitted, len(report.problems)) == (1, 2)


def test_the_command_line_writes_and_reads_xml(champion: CommandLine, tmp_path: Path) -> None:
    done = champion.run("labels", "export", "--format", "cvat", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    file = tmp_path / "out" / "annotations.xml"
    assert cvat_xml.read(file)["images"] == []
    assert "nothing to import" in champion.run("labels", "import", file).out


def test_what_is_sent_is_what_the_models_take() -> None:
    project = cvat_models.project_request("e2x", list(LABELS))
    assert [(one.name, one.type) for one in project.labels] == [
        ("car", "rectangle"),
        ("bus", "rectangle"),
    ]
    task = cvat_models.task_request(TASK, 5, MARK)
    assert cvat_models.task_of(task.name, MARK) == (7, TASK.image_id)
    assert cvat_models.task_of(task.name, MARK[::-1]) is None
    assert cvat_models.data_request(TASK).remote_files == [TASK.picture_url]
    (shape,) = cvat_models.shapes_request(TASK, LABELS).shapes
    assert (shape.type.value, shape.label_id, shape.points) == (
        "rectangle",
        3,
        [1.0, 2.0, 9.5, 8.0],
    )
    assert cvat_models.shapes_request(TASK, {"bus": 4}).shapes == []


def _job(state: str) -> Any:
    task = cvat_models.task_request(TASK, 5, MARK)
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    return models.JobRead._from_openapi_data(
        models.IssuesSummary._from_openapi_data(),
        models.LabelsSummary._from_openapi_data(),
        id=11,
        task_id=9,
        task_name=task.name,
        state=state,
        updated_date=moment,
        _check_type=False,
    )


def _data(*shapes: dict[str, Any]) -> Any:
    made = [
        models.LabeledShape._from_openapi_data(
            **{
                "type": models.ShapeType("rectangle"),
                "label_id": 3,
                "frame": 0,
                "points": [2.0, 3.0, 12.0, 11.0],
                "rotation": 0.0,
                **shape,
            }
        )
        for shape in shapes
    ]
    return models.LabeledData._from_openapi_data(version=1, tags=[], shapes=made, tracks=[])


def _read(state: str, data: Any) -> Any:
    return cvat_models.remote_of(_job(state), data, MARK, SIZES, LABELS)


def test_an_image_is_answered_only_when_its_job_is_completed() -> None:
    assert _read("new", None).said == ()
    assert not _read("new", None).begun
    under_way = _read("in progress", _data({}))
    assert (under_way.said, under_way.begun) == ((), True)
    done = _read("completed", _data())
    assert (done.remote_id, done.task_id, done.image_id) == ("9", 7, TASK.image_id)
    (said,) = done.said
    assert (said.objects, said.problem, said.at[:10]) == ([], "", "2026-01-02")


def test_shapes_are_read_and_what_is_no_upright_rectangle_is_told() -> None:
    (said,) = _read("completed", _data({}, {"label_id": 4})).said
    assert [one["label"] for one in said.objects] == ["car", "bus"]
    assert said.objects[0]["box"] == [2.0, 3.0, 12.0, 11.0]
    (turned,) = _read("completed", _data({}, {"rotation": 30.0})).said
    assert "object 2 (car) is rotated by 30 degrees" in turned.problem
    quarter = _data({"rotation": 90.0, "points": [20.0, 10.0, 30.0, 14.0]})
    (upright,) = _read("completed", quarter).said
    assert upright.objects[0]["box"] == [23.0, 7.0, 27.0, 17.0]
    shape = models.ShapeType("polygon")
    (other,) = _read(
        "completed", _data({"type": shape, "points": [1.0, 1.0, 9.0, 9.0, 1.0, 9.0]})
    ).said
    assert "is a polygon" in other.problem
