"""VOC, YOLO, plain folders and real data: each bad entry is named, its neighbours stay."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation import formats
from curation.formats import Imported
from curation.kernel.errors import AnnotationsInvalid
from tests import bad_images


def _only_problem(found: Imported) -> str:
    assert len(found.problems) == 1, found.problems
    return f"{found.problems[0].where}: {found.problems[0].message}"


VOC = """<annotation><filename>{name}</filename>
<size><width>64</width><height>48</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>
</bndbox></object>"""


def _voc(folder: Path, **files: str | bytes) -> Path:
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    for number, (name, text) in enumerate(files.items()):
        data = text if isinstance(text, bytes) else text.encode()
        (folder / "Annotations" / f"{name}.xml").write_bytes(data)
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(bad_images.jpeg(number))
    return folder


def _voc_object(
    box: tuple[Any, ...] = (3, 4, 12, 11), name: str = "car", difficult: int = 0
) -> str:
    return OBJECT.format(box=box, name=name, difficult=difficult)


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    objects = _voc_object() + _voc_object((1, 1, 64, 48), "bus", 1)

    found = formats.load(_voc(tmp_path, a=VOC.format(name="a.jpg", objects=objects)))

    assert found.problems == ()
    assert found.class_names == ("bus", "car")
    assert found.items[0].boxes_xyxy.tolist() == [[2, 3, 12, 11], [0, 0, 64, 48]]
    assert found.items[0].ignore == (False, True)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
FILE_ENTITY = b"""<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>
<annotation><filename>&f;</filename></annotation>"""
BAD_VOC = {
    "not XML": b"<annotation>",
    "empty": b"",
    "entities": BOMB,
    "a file as entity": FILE_ENTITY,
    "entities in UTF-16": BOMB.decode().encode("utf-16"),
    "size without number": VOC.format(name="b.jpg", objects="").replace("64", "wide").encode(),
    "endless size": VOC.format(name="b.jpg", objects="").replace("64", "inf").encode(),
    "unknown encoding": b'<?xml version="1.0" encoding="nonsense"?><annotation/>',
    "too large": b"<annotation>" + b" " * 2**22 + b"</annotation>",
}


@pytest.mark.parametrize("declared", ["", '<?xml version="1.0" encoding="utf-16"?>\n'])
def test_an_annotation_in_utf_16_is_read(tmp_path: Path, declared: str) -> None:
    text = declared + VOC.format(name="a.jpg", objects=_voc_object(name="vélo"))

    found = formats.load(_voc(tmp_path, a=text.encode("utf-16")))

    assert found.problems == ()
    assert found.items[0].labels == ("vélo",)


@pytest.mark.parametrize("case", BAD_VOC)
def test_a_bad_voc_file_is_named_and_its_neighbours_stay(tmp_path: Path, case: str) -> None:
    good = VOC.format(name="a.jpg", objects=_voc_object())

    found = formats.load(_voc(tmp_path, a=good, b=BAD_VOC[case]))

    assert "b.xml: left out: not a VOC annotation" in _only_problem(found)
    assert [item.labels for item in found.items] == [("car",)]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (_voc_object((12, 4, 3, 11)), "inverted"),
        (_voc_object((-9, 4, 12, 11)), "leaves the 64x48 image"),
        (_voc_object((3, 4, 99, 11)), "leaves the 64x48 image"),
        (_voc_object(("left", 4, 12, 11)), "`bndbox` is not four numbers"),
        (_voc_object(name=""), "has no name"),
        ("<object><name>car</name></object>", "neither `bndbox` nor `polygon`"),
    ],
)
def test_a_bad_voc_object_is_named_and_its_neighbours_stay(
    tmp_path: Path, bad: str, why: str
) -> None:
    objects = _voc_object() + bad + _voc_object((30, 20, 50, 40))

    found = formats.load(_voc(tmp_path, a=VOC.format(name="a.jpg", objects=objects)))

    problem = _only_problem(found)
    assert problem.startswith("a.xml, object 1: left out")
    assert why in problem
    assert len(found.items[0].labels) == 2


def test_a_voc_entry_that_is_no_file_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    folder = _voc(tmp_path, a=VOC.format(name="a.jpg", objects=_voc_object()))
    (folder / "Annotations" / "b.xml").mkdir()
    (folder / "Annotations" / "c.xml").symlink_to(tmp_path / "gone.xml")

    found = formats.load(folder)

    assert [one.where for one in found.problems] == ["c.xml"]
    assert all(str(tmp_path) not in one.message for one in found.problems)
    assert len(found.items) == 1


def test_a_voc_file_cannot_name_an_image_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(bad_images.jpeg(7))
    _voc(folder, a=VOC.format(name="../../secret.jpg", objects=_voc_object()))
    (folder / "JPEGImages" / "a.jpg").unlink()

    found = formats.load(folder, fmt="voc")

    assert _only_problem(found) == "a.xml: left out: no image 'a' or 'secret.jpg'"


def test_a_plain_folder_has_images_and_no_labels(tmp_path: Path) -> None:
    for name in ("b.PNG", "drive/a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bad_images.png())

    found = formats.load(tmp_path)

    assert not found.labelled
    assert [(item.path.name, item.group) for item in found.items] == [
        ("b.PNG", ""),
        ("a.jpg", "drive"),
    ]


def test_an_empty_folder_and_an_unknown_format_are_errors(tmp_path: Path) -> None:
    with pytest.raises(AnnotationsInvalid, match="no image and no annotation"):
        formats.load(tmp_path)
    with pytest.raises(AnnotationsInvalid, match="no format 'pickle'; there are coco, voc"):
        formats.load(tmp_path, fmt="pickle")


TOWNS = {
    "town01": {"vehicle": 121, "traffic_light": 86, "traffic_sign": 12, "bike": 5, "motobike": 23},
    "town02": {
        "vehicle": 270,
        "traffic_light": 126,
        "traffic_sign": 69,
        "bike": 15,
        "motobike": 35,
    },
    "town04": {"vehicle": 154, "traffic_light": 15, "traffic_sign": 12, "bike": 11, "motobike": 10},
}


@pytest.mark.parametrize(("town", "images"), [("town01", 200), ("town02", 184), ("town04", 58)])
def test_every_box_of_a_carla_town_is_read(shared_data: Path, town: str, images: int) -> None:
    found = formats.load(shared_data / "carla" / f"{town}.json")

    assert found.problems == ()
    assert len(found.items) == images
    assert Counter(label for item in found.items for label in item.labels) == TOWNS[town]
    assert {item.group for item in found.items} == {town}


def test_every_box_of_bccd_is_read(shared_data: Path) -> None:
    parts = [formats.load(shared_data / "bccd" / f"{name}.json") for name in ("trainval", "test")]

    assert sum(len(part.items) for part in parts) == 364
    boxes = sum(len(item.labels) for part in parts for item in part.items)
    problems = sum(len(part.problems) for part in parts)
    assert boxes + problems == 4886
    assert problems <= 5
    assert set(parts[0].class_names) == {"RBC", "WBC", "Platelets"}


def test_real_boxes_survive_voc(shared_data: Path, tmp_path: Path) -> None:
    source = formats.load(shared_data / "carla" / "town04.json").items[:5]
    folder = tmp_path / "voc"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    for item in source:
        shutil.copy(item.path, folder / "JPEGImages")
        objects = "".join(
            _voc_object((box[0] + 1, box[1] + 1, box[2], box[3]), label)
            for box, label in zip(item.boxes_xyxy.tolist(), item.labels, strict=True)
        )
        text = VOC.format(name=item.path.name, objects=objects)
        text = text.replace(">64<", f">{item.width_px}<").replace(">48<", f">{item.height_px}<")
        (folder / "Annotations" / f"{item.path.stem}.xml").write_text(text)

    found = formats.load(folder)

    assert found.problems == ()
    for before, after in zip(source, found.items, strict=True):
        np.testing.assert_array_equal(before.boxes_xyxy, after.boxes_xyxy)
        assert before.labels == after.labels
