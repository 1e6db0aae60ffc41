"""Files that are wrong as a whole: the likely cause is named, and a single slip is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from curation import formats
from curation.formats import Imported
from tests import bad_images

WIDTH, HEIGHT = bad_images.WIDTH, bad_images.HEIGHT
BOXES = ((2, 3, 12, 11), (30, 20, 60, 40), (1, 1, 63, 47), (40, 5, 50, 45))
"""x1, y1, x2, y2 in px."""


def _xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _coco(folder: Path, change: Callable[[dict[str, Any], int], None] | None = None) -> Imported:
    """Three images with four boxes each, of the first two of three classes, changed one by one."""
    images, annotations = [], []
    for image in (1, 2, 3):
        name = f"{image}.png"
        (folder / name).write_bytes(bad_images.png(image))
        images.append({"id": image, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for number, box in enumerate(BOXES):
            entry = {"image_id": image, "category_id": 1 + number % 2, "bbox": _xywh(box)}
            annotations.append(entry)
    for position, entry in enumerate(annotations):
        entry["id"] = position + 1
        if change is not None:
            change(entry, position)
    categories = [{"id": n, "name": name} for n, name in enumerate(("car", "bus", "van"), 1)]
    document = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "annotations.json").write_text(json.dumps(document))
    return formats.load(folder)


def _classes_from_zero(entry: dict[str, Any], position: int) -> None:
    entry["category_id"] -= position % 8 < 6  # some know better, which changes nothing


def _images_from_zero(entry: dict[str, Any], _position: int) -> None:
    entry["image_id"] -= 1


def _ids_as_text(entry: dict[str, Any], _position: int) -> None:
    entry["image_id"] = str(entry["image_id"])


def _classes_as_text(entry: dict[str, Any], position: int) -> None:
    if position:
        entry["category_id"] = str(entry["category_id"])


def _other_images(entry: dict[str, Any], position: int) -> None:
    entry["image_id"] += 70 * bool(position)


def _corners(entry: dict[str, Any], _position: int) -> None:
    x, y, width, height = entry["bbox"]
    entry["bbox"] = [x, y, x + width, y + height]


def _shares(entry: dict[str, Any], _position: int) -> None:
    sides = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    entry["bbox"] = [value / side for value, side in zip(entry["bbox"], sides, strict=True)]


def _no_boxes(entry: dict[str, Any], position: int) -> None:
    if position % 3:
        entry["bbox"] = [1, 2]


WRONG = {
    "lists categories from 1 and refers to them as if from 0": _classes_from_zero,
    "lists images from 1 and refers to them as if from 0": _images_from_zero,
    "12 of its 12 annotations cannot be used: `image_id` is text where the `id`": _ids_as_text,
    "11 of its 12 annotations cannot be used: `category_id` is text": _classes_as_text,
    "11 of its 12 annotations cannot be used: most have a `image_id` that images": _other_images,
    "8 of its 12 annotations cannot be used": _no_boxes,
    "its boxes look like [x1, y1, x2, y2]: COCO wants [x, y, width, height]": _corners,
    "its coordinates look normalised (0..1): give pixels": _shares,
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_with_a_coco_file_is_named(tmp_path: Path, said: str) -> None:
    assert said in _coco(tmp_path, WRONG[said]).doubt


def test_categories_that_are_listed_from_zero(tmp_path: Path) -> None:
    _coco(tmp_path)
    file = tmp_path / "annotations.json"
    document = json.loads(file.read_text())
    for number, entry in enumerate(document["categories"]):
        entry["id"] = number
    document["annotations"][0]["category_id"] = 3
    file.write_text(json.dumps(document))
    assert "lists categories from 0 and refers to them as if from 1" in formats.load(file).doubt


def _one(**values: Any) -> Callable[[dict[str, Any], int], None]:
    def change(entry: dict[str, Any], position: int) -> None:
        if position == 5:
            entry.update(values)

    return change


@pytest.mark.parametrize(
    "values",
    [
        {"category_id": 9},
        {"category_id": 4},
        {"category_id": "1"},
        {"image_id": 0},
        {"image_id": "2"},
        {"bbox": [30, 20, 60, 40]},
        {"bbox": [0.1, 0.1, 0.2, 0.2]},
        {"bbox": None},
        {"bbox": "1234"},
        {"bbox": [True, {}, 1, 1]},
    ],
    ids=str,
)
def test_a_slip_is_no_reason_to_doubt_the_others(tmp_path: Path, values: dict[str, Any]) -> None:
    found = _coco(tmp_path, _one(**values))
    assert found.doubt == ""
    assert len(found.items) == 3


def test_good_files_and_empty_ones_are_not_doubted(tmp_path: Path, shared_data: Path) -> None:
    assert _coco(tmp_path).doubt == ""
    for name in ("carla/town01", "carla/town04", "bccd/trainval", "bccd/test"):
        assert formats.load(shared_data / f"{name}.json").doubt == ""
    file = tmp_path / "annotations.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "annotations": []}))
    assert formats.load(file).doubt == ""


def test_an_image_knows_which_of_its_objects_were_refused(tmp_path: Path) -> None:
    first = _coco(tmp_path, _one(category_id=9)).items
    second = _coco(tmp_path, _one(bbox=[60, 3, 30, 8])).items
    for items, where, why in (
        (first, "annotations.json, annotation 6", "unknown category 9"),
        (second, "annotations.json, image 2, annotation 6", "leaves the 64x48 image"),
    ):
        assert [len(item.refused) for item in items] == [0, 1, 0]
        assert items[1].refused[0].where == where
        assert why in items[1].refused[0].message


VOC = (
    "<annotation><filename>{name}</filename><size><width>64</width><height>48</height></size>"
    "{objects}</annotation>"
)
OBJECT = (
    "<object><name>car</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


def _voc(folder: Path, boxes: Sequence[Sequence[float]]) -> Imported:
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    for number in (1, 2):
        (folder / "JPEGImages" / f"{number}.png").write_bytes(bad_images.png(number))
        text = VOC.format(name=f"{number}.png", objects="".join(OBJECT.format(*b) for b in boxes))
        (folder / "Annotations" / f"{number}.xml").write_text(text)
    return formats.load(folder)


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        (BOXES, ""),
        ([_xywh(box) for box in BOXES], "look like x, y, width, height: VOC wants xmin, ymin"),
        ([[0.1, 0.1, 0.5, 0.5], [0.2, 0.1, 0.9, 1.0]], "look normalised (0..1): give pixels"),
        ([*BOXES[:1], *[(50, 40, 45, 30)] * 3], "6 of its 8 annotations cannot be used"),
    ],
)
def test_what_is_wrong_with_a_voc_folder_is_named(
    tmp_path: Path, boxes: Sequence[Sequence[float]], said: str
) -> None:
    doubt = _voc(tmp_path, boxes).doubt
    assert said in doubt
    assert bool(said) == bool(doubt)


def test_a_voc_image_knows_which_of_its_objects_were_refused(tmp_path: Path) -> None:
    found = _voc(tmp_path, [*BOXES, (9, 9, 5, 5)])
    assert [one.where for item in found.items for one in item.refused] == [
        "1.xml, object 4",
        "2.xml, object 4",
    ]
    assert found.doubt == ""


def _yolo(folder: Path, lines: Sequence[str], labels: str = "labels") -> Imported:
    for name in ("images", "labels", labels):
        (folder / name).mkdir(exist_ok=True, parents=True)
    (folder / "classes.txt").write_text("car\nbus\nvan\n")
    for number in (1, 2):
        (folder / "images" / f"{number}.png").write_bytes(bad_images.png(number))
        (folder / labels / f"{number}.txt").write_text("\n".join(lines))
    return formats.load(folder)


def _lines(boxes: Sequence[Sequence[float]], first_class: int = 0) -> list[str]:
    """Lines with shares of the image, for corners in px."""
    found = []
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        centre = f"{(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT}"
        sides = f"{(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}"
        found.append(f"{first_class + number % 3} {centre} {sides}")
    return found


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (_lines(BOXES), ""),
        (["0 0.5 0.5 1 1"], ""),
        ([*_lines(BOXES), "3 0.5 0.5 0.1 0.1"], ""),
        (_lines(BOXES, 1), "lists classes from 0 and refers to them as if from 1"),
        ([f"0 {b[0]} {b[1]} {b[2]} {b[3]}" for b in BOXES], "look like pixels: YOLO wants shares"),
        (["0 0.1 0.2 0.9 0.9", "1 0.6 0.6 0.7 0.8"], "look like x1, y1, x2, y2: YOLO wants centre"),
        (["one 0.5 0.5 0.1 0.1", "2 1", "0 0.5 0.5 0.1 0.1"], "4 of its 6 annotations cannot"),
    ],
)
def test_what_is_wrong_with_a_yolo_folder_is_named(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    doubt = _yolo(tmp_path, lines).doubt
    assert said in doubt
    assert bool(said) == bool(doubt)


def test_labels_that_lie_elsewhere_than_their_images_are_missed(tmp_path: Path) -> None:
    found = _yolo(tmp_path, _lines(BOXES), labels="labels/train")
    assert "2 of its 2 label files have no image" in found.doubt


def test_a_yolo_image_knows_which_of_its_lines_were_refused(tmp_path: Path) -> None:
    found = _yolo(tmp_path, [*_lines(BOXES), "7 0.5 0.5 0.1 0.1", "0 0.9 0.5 0.9 0.1", "x"])
    assert [len(item.refused) for item in found.items] == [3, 3]
    assert found.doubt == ""


def test_images_of_other_formats_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    for name in ("a.jp2", "b/c.JP2", "d.heic", ".hidden.jp2", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(formats.AnnotationsInvalid, match=r"no image .*: 2 \.jp2, 1 \.heic"):
        formats.load(tmp_path)
    (tmp_path / "a.png").write_bytes(bad_images.png())
    (note,) = formats.load(tmp_path).notes
    assert "2 .jp2, 1 .heic" in note
    split = tmp_path / "yolo"
    (split / "images").mkdir(parents=True)
    (split / "images" / "a.jp2").write_bytes(b"x")
    (note,) = _yolo(split, _lines(BOXES)).notes
    assert "1 .jp2" in note
