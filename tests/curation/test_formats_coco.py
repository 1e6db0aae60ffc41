"""COCO: good entries come in, each bad one is named and left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curation import formats
from curation.formats import Imported
from curation.kernel.errors import AnnotationsInvalid
from tests import bad_images

GOOD = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 8]}
OTHER = {**GOOD, "id": 3, "bbox": [30, 20, 10, 8]}


def _document(*annotations: dict[str, Any], images: list[dict[str, Any]] | None = None) -> dict:
    one = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
    return {
        "images": [one] if images is None else images,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}],
        "annotations": list(annotations),
    }


def _write(folder: Path, document: Any, *names: str) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for number, name in enumerate(names or ("a.png",)):
        (folder / "images" / name).write_bytes(bad_images.png(number))
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "annotations.json").write_text(text)
    return folder


def _only_problem(found: Imported) -> str:
    assert len(found.problems) == 1, found.problems
    return f"{found.problems[0].where}: {found.problems[0].message}"


BAD_ANNOTATIONS = {
    "unknown category": ({"category_id": 9}, "unknown category 9; there are 1 (car), 2 (bus)"),
    "unhashable category": ({"category_id": [1]}, "unknown category [1]"),
    "negative": ({"bbox": [-9, 3, 20, 8]}, "leaves the 64x48 image"),
    "inverted": ({"bbox": [20, 3, -5, 8]}, "inverted"),
    "empty": ({"bbox": [20, 3, 0, 8]}, "empty"),
    "outside": ({"bbox": [60, 3, 30, 8]}, "leaves the 64x48 image"),
    "no number": ({"bbox": ["left", 3, 30, 8]}, "not four numbers"),
    "too few": ({"bbox": [1, 2, 3]}, "not four numbers"),
    "two boxes in one": ({"bbox": [1, 2, 3, 4, 1, 2, 3, 4]}, "not four numbers"),
    "no box": ({"bbox": None}, "neither `bbox` nor `segmentation`"),
    "not finite": ({"bbox": [float("nan"), 3, 30, 8]}, "not finite"),
    "over float32": ({"bbox": [1, 3, 1e39, 8]}, "not finite"),
    "over float64": ({"bbox": [1, 3, 10**400, 8]}, "not four numbers"),
    "no such image": ({"image_id": 77}, "no image 77"),
}


@pytest.mark.parametrize("case", BAD_ANNOTATIONS)
def test_a_bad_coco_annotation_is_named_and_its_neighbours_stay(tmp_path: Path, case: str) -> None:
    change, why = BAD_ANNOTATIONS[case]
    bad = {**GOOD, "id": 41, **change}

    found = formats.load(_write(tmp_path, _document(GOOD, bad, OTHER)))

    problem = _only_problem(found)
    assert problem.startswith("annotations.json, ")
    assert "annotation 41" in problem
    assert why in problem
    assert found.items[0].boxes_xyxy.tolist() == [[2, 3, 12, 11], [30, 20, 40, 28]]
    assert found.items[0].labels == ("car", "car")


def test_annotations_with_one_id_are_told_and_kept(tmp_path: Path) -> None:
    """Nothing refers to them; files that were joined have such."""
    found = formats.load(_write(tmp_path, _document(GOOD, {**OTHER, "id": 1})))

    assert found.problems == ()
    assert found.items[0].labels == ("car", "car")
    assert any("ids of annotations repeat, 1 times" in note for note in found.notes)


def _image(identity: Any, name: Any, **values: Any) -> dict[str, Any]:
    return {"id": identity, "file_name": name, "width": 64, "height": 48, **values}


BAD_IMAGES = {
    "duplicate": ([_image(5, "b.png"), _image(5, "c.png")], "image 5", "appears twice"),
    "missing file": ([_image(5, "gone.png")], "image 5", "no file 'gone.png'"),
    "path outside": ([_image(5, "../../secret.png")], "image 5", "no file 'secret.png'"),
    "absolute path": ([_image(5, "/etc/hostname")], "image 5", "no file 'hostname'"),
    "zero byte": ([_image(5, "b\0.png")], "image 5", "no file"),
    "too long": ([_image(5, "x" * 5000 + ".png")], "image 5", "no file"),
    "a folder": ([_image(5, "")], "image 5", "no file"),
    "no id": ([{"file_name": "b.png"}], "image 1", "needs `id`"),
    "list as id": ([_image([5], "b.png")], "image 1", "needs `id`"),
    "no name": ([{"id": 5}], "image 5", "needs `id` and `file_name`"),
    "list as name": ([_image(5, ["b.png"])], "image 5", "needs `id` and `file_name`"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_coco_image_is_named_and_its_neighbours_stay(tmp_path: Path, case: str) -> None:
    extra, where, why = BAD_IMAGES[case]
    (tmp_path / "secret.png").write_bytes(bad_images.png(9))
    folder = tmp_path / "data" / "set"
    folder.mkdir(parents=True)
    document = _document(GOOD, images=[_image(1, "a.png"), *extra])

    found = formats.load(_write(folder, document, "a.png", "b.png", "c.png"))

    assert {one.where for one in found.problems} == {f"annotations.json, {where}"}
    assert why in found.problems[0].message
    assert [item.path.name for item in found.items] == ["a.png"]
    assert found.items[0].labels == ("car",)


@pytest.mark.parametrize("size", [float("inf"), float("nan"), -4, "wide", None])
def test_instead_of_a_senseless_image_size_the_pictures_own_counts(
    tmp_path: Path, size: Any
) -> None:
    document = _document(GOOD, images=[_image(1, "a.png", width=size)])

    found = formats.load(_write(tmp_path, document))

    assert found.items[0].width_px == 64
    assert found.items[0].labels == ("car",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "expected an object"),
        ('{"images": []}', "'categories' is not a list"),
        ('{"images": [3], "categories": [], "annotations": []}', "'images' is not a list of"),
    ],
)
def test_a_file_that_is_no_coco_is_an_error_with_its_name(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(AnnotationsInvalid, match=rf"annotations\.json: .*{why}"):
        formats.load(_write(tmp_path, text))


def test_bytes_that_are_no_text_are_no_coco(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(b"\xff\xfe{}")

    with pytest.raises(AnnotationsInvalid, match=r"broken\.json: not JSON"):
        formats.load(file)


@pytest.mark.parametrize("name", ["background", "", "a\0b", "x" * 200])
def test_a_class_that_cannot_be_one_is_left_out(tmp_path: Path, name: str) -> None:
    document = _document(GOOD, {**GOOD, "id": 2, "category_id": 3})
    document["categories"].append({"id": 3, "name": name})

    found = formats.load(_write(tmp_path, document))

    assert "annotation 2: left out: class" in _only_problem(found)
    assert found.items[0].labels == ("car",)


def test_a_class_that_cannot_be_one_is_not_listed(tmp_path: Path) -> None:
    document = _document(GOOD)
    document["categories"] += [{"id": 3, "name": "background"}, {"id": 4, "name": None}]

    found = formats.load(_write(tmp_path, document))

    assert "category 4: left out: it needs `id` and `name`" in _only_problem(found)
    assert found.class_names == ("car", "bus")


def test_ids_that_a_table_program_wrote_as_floats_are_understood(tmp_path: Path) -> None:
    table = {"id": 1.0, "image_id": 1.0, "category_id": 2.0, "bbox": [2.0, 3.0, 10.0, 8.0]}

    found = formats.load(_write(tmp_path, _document(table)))

    assert found.problems == ()
    assert found.items[0].labels == ("bus",)


@pytest.mark.parametrize(("said", "group"), [("drive 7", "drive 7"), (7, "7"), (None, "")])
def test_an_image_names_its_group(tmp_path: Path, said: Any, group: str) -> None:
    document = _document(GOOD, images=[_image(1, "a.png", group=said)])

    assert formats.load(_write(tmp_path, document)).items[0].group == group


def test_crowds_and_small_boxes_become_ignore_regions(tmp_path: Path) -> None:
    small = {**GOOD, "id": 2, "bbox": [1, 1, 20, 4]}
    crowd = {**OTHER, "iscrowd": 1}

    found = formats.load(_write(tmp_path, _document(GOOD, small, crowd)), min_side_px=6)

    assert found.items[0].ignore == (False, True, True)


@pytest.mark.parametrize("place", ["images/a.png", "a.png", "data/a.png"])
def test_images_are_found_in_the_usual_folders(tmp_path: Path, place: str) -> None:
    folder = _write(tmp_path, _document(GOOD))
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / "images" / "a.png").rename(folder / place)

    assert formats.load(folder / "annotations.json").items[0].path.name == "a.png"
