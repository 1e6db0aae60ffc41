"""COCO as sets lie on disks: several files, layouts of tools, names as they were elsewhere."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curation import formats
from curation.formats import Imported, ReadOptions, SplitChoice
from curation.formats.one_truth import one_truth
from curation.kernel.errors import AnnotationsInvalid
from tests import bad_images

WIDTH, HEIGHT = bad_images.WIDTH, bad_images.HEIGHT
TRAINING = ReadOptions(splits=SplitChoice(purpose="train"))


def _document(
    names: Sequence[str], label: str = "car", box: Sequence[float] = (2, 3, 10, 8)
) -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(names, 1)
        ],
        "categories": [{"id": 1, "name": label}],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": list(box)}
            for number, _ in enumerate(names, 1)
        ],
    }


def _write(file: Path, document: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file


def _picture(file: Path, number: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bad_images.png(number))
    return file


def _found(imported: Imported, root: Path) -> list[str]:
    return [item.path.relative_to(root).as_posix() for item in imported.items]


LAYOUTS = {
    "Roboflow": ("_annotations.coco.json", "a.png"),
    "CVAT": ("annotations/instances_default.json", "images/default/a.png"),
    "CVAT without subset": ("annotations/instances_default.json", "images/a.png"),
    "COCO": ("annotations/instances_train2017.json", "train2017/a.png"),
    "COCO with images": ("annotations/instances_train2017.json", "images/train2017/a.png"),
    "split": ("annotations/train.json", "images/train/a.png"),
    "capitals": ("Annotations/Train.json", "Train/a.png"),
    "FiftyOne": ("labels.json", "data/a.png"),
    "Label Studio": ("result.json", "images/a.png"),
    "img": ("annotations.json", "img/a.png"),
    "any folder": ("annotations.json", "frames/north/a.png"),
    "named like its pictures": ("town01.json", "town01/a.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_tools(tmp_path: Path, layout: str) -> None:
    annotations, picture = LAYOUTS[layout]
    file = _write(tmp_path / annotations, _document(["a.png"]))
    _picture(tmp_path / picture)
    for source in (tmp_path, file):
        found = formats.load(source)
        assert found.problems == ()
        assert _found(found, tmp_path) == [picture]
        assert found.items[0].labels == ("car",)


def test_pictures_of_another_set_above_are_never_taken(tmp_path: Path) -> None:
    _write(tmp_path / "set_a" / "annotations.json", _document(["a.png", "b.png"]))
    _picture(tmp_path / "images" / "a.png")
    _picture(tmp_path / "images" / "b.png")
    with pytest.raises(AnnotationsInvalid, match=r"none of its 2 pictures .* set_a.*--images"):
        formats.load(tmp_path / "set_a")


def test_the_folder_of_pictures_is_the_one_that_was_named(tmp_path: Path) -> None:
    file = _write(tmp_path / "labels" / "annotations.json", _document(["x/a.png"]))
    _picture(tmp_path / "labels" / "images" / "a.png", 1)
    picture = _picture(tmp_path / "disk" / "x" / "a.png", 2)
    found = formats.load(file, options=ReadOptions(images=tmp_path / "disk"))
    assert [item.path for item in found.items] == [picture]


NAMES = {
    "images\\a b.png": "images/a b.png",
    "C:\\Users\\mia\\set\\images\\a b.png": "images/a b.png",
    "/home/mia/set/images/a b.png": "images/a b.png",
    "./images/a b.png": "images/a b.png",
    "https://store.example/b/a%20b.png?sig=1": "images/a b.png",
    "/data/local-files/?d=set/images/a%20b.png": "images/a b.png",
    "?d=a%20b.png": "images/a b.png",
    "images/a%20b.png": "images/a b.png",
    "images/1/0123abcd-a b.png": "images/a b.png",
    "0123abcd__a b.png": "images/a b.png",
    "a b.PNG": "images/a b.png",
    "a b.png": "images/a b.Png",
    unicodedata.normalize("NFD", "\u00e9.png"): unicodedata.normalize("NFC", "\u00e9.png"),
    unicodedata.normalize("NFC", "\u00e9.png"): unicodedata.normalize("NFD", "\u00e9.png"),
}


@pytest.mark.parametrize("written", NAMES)
def test_names_as_they_were_on_other_computers(tmp_path: Path, written: str) -> None:
    _write(tmp_path / "result.json", _document([written]))
    _picture(tmp_path / NAMES[written])
    found = formats.load(tmp_path)
    assert found.problems == ()
    assert _found(found, tmp_path) == [NAMES[written]]


def test_a_name_that_may_be_of_several_pictures_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "annotations.json", _document(["a.png", "b.png"]))
    _picture(tmp_path / "images" / "b.png")
    for number, folder in enumerate(("north", "south")):
        _picture(tmp_path / folder / "a.png", number)
    (problem,) = formats.load(tmp_path).problems
    assert "'a.png' may be north/a.png, south/a.png" in problem.message
    assert problem.loses == "image"


def test_links_are_followed(tmp_path: Path) -> None:
    blob = _picture(tmp_path / "blobs" / "0abc")
    document = _write(tmp_path / "blobs" / "ann", _document(["a.png"]))
    snapshot = tmp_path / "snapshot"
    (snapshot / "images").mkdir(parents=True)
    (snapshot / "images" / "a.png").symlink_to(blob)
    (snapshot / "annotations.json").symlink_to(document)
    assert _found(formats.load(snapshot), snapshot) == ["images/a.png"]


def _splits(root: Path) -> None:
    for split, label in (("train", "car"), ("valid", "bus"), ("test", "van")):
        _write(root / split / "_annotations.coco.json", _document([f"{split}.png"], label))
        _picture(root / split / f"{split}.png")


def test_each_file_is_a_split(tmp_path: Path) -> None:
    _splits(tmp_path)
    assert len(formats.load(tmp_path).items) == 3
    found = formats.load(tmp_path, options=TRAINING)
    assert _found(found, tmp_path) == ["train/train.png"]
    assert found.class_names == ("car",)
    (note,) = found.notes
    assert "1 images of split test, 1 images of split val" in note
    evaluated = formats.load(tmp_path, options=ReadOptions(splits=SplitChoice(("val",))))
    assert _found(evaluated, tmp_path) == ["valid/valid.png"]
    with pytest.raises(AnnotationsInvalid, match="its splits are test, train, val"):
        formats.load(tmp_path, options=ReadOptions(splits=SplitChoice(("night",))))


@pytest.mark.parametrize(
    "names", [("instances_train2017", "instances_val2017"), ("train", "val"), ("x_train", "x-val")]
)
def test_splits_are_in_the_names_of_files(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        _write(tmp_path / "annotations" / f"{name}.json", _document([f"{name}.png"]))
        _picture(tmp_path / "images" / f"{name}.png")
    assert _found(formats.load(tmp_path, options=TRAINING), tmp_path) == [f"images/{names[0]}.png"]


def test_splits_that_number_their_pictures_anew(tmp_path: Path) -> None:
    """Whatever the folder of a split is called."""
    for number, (name, folder) in enumerate((("train", "training"), ("val", "valid"))):
        _write(tmp_path / f"{name}.json", _document(["0.png"], name))
        _picture(tmp_path / folder / "0.png", number)
    found = formats.load(tmp_path)
    assert {item.path.parent.name: item.labels for item in found.items} == {
        "training": ("train",),
        "valid": ("val",),
    }


def test_a_name_may_say_the_folder_of_another_split(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document(["test/a.png"]))
    _picture(tmp_path / "test" / "a.png")
    assert _found(formats.load(tmp_path), tmp_path) == ["test/a.png"]


def test_what_is_beside_a_held_out_split_is_to_train_on(tmp_path: Path) -> None:
    _write(tmp_path / "annotations.json", _document(["a.png", "b.png"]))
    _write(tmp_path / "test.json", _document(["b.png"]))
    for number, name in enumerate(("a", "b")):
        _picture(tmp_path / "images" / f"{name}.png", number)
    assert _found(formats.load(tmp_path, options=TRAINING), tmp_path) == ["images/a.png"]
    alone = formats.load(tmp_path / "test.json", options=TRAINING)
    assert _found(alone, tmp_path) == ["images/b.png"]


def test_a_file_without_an_annotation_says_so(tmp_path: Path) -> None:
    _write(tmp_path / "annotations.json", {**_document(["a.png"]), "annotations": []})
    _picture(tmp_path / "a.png")
    (note,) = formats.load(tmp_path).notes
    assert "has no annotation at all: its 1 images count as empty" in note


def test_a_picture_that_two_splits_list_is_held_out(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document(["a.png", "b.png"]))
    _write(tmp_path / "val.json", _document(["b.png"]))
    for number, name in enumerate(("a", "b")):
        _picture(tmp_path / "images" / f"{name}.png", number)
    found = formats.load(tmp_path, options=TRAINING)
    assert _found(found, tmp_path) == ["images/a.png"]
    assert any("1 of these are listed in a split that was taken" in note for note in found.notes)


def test_pictures_of_one_split_are_not_those_of_another(tmp_path: Path) -> None:
    """Each split numbers its own anew, and those of val are not here."""
    for split in ("train", "val"):
        _write(tmp_path / "annotations" / f"instances_{split}2017.json", _document(["0.png"]))
    _picture(tmp_path / "train2017" / "0.png")
    found = formats.load(tmp_path)
    assert _found(found, tmp_path) == ["train2017/0.png"]
    assert [one.where for one in found.problems] == ["annotations/instances_val2017.json, image 1"]


def _cars_and_buses(root: Path, second: str) -> None:
    _write(root / "cars.json", _document(["a.png", "b.png"], "car"))
    _write(root / "buses.json", _document(["a.png"], second, (30, 20, 9, 9)))
    for number, name in enumerate(("a", "b")):
        _picture(root / "images" / f"{name}.png", number)


def test_files_of_one_class_each_are_parts_of_one_truth(tmp_path: Path) -> None:
    _cars_and_buses(tmp_path, "bus")
    found = formats.load(tmp_path)
    whole = one_truth(found.items)
    assert not whole.problems
    assert {item.path.name: (set(item.labels), item.group) for _, item in whole.items} == {
        "a.png": ({"car", "bus"}, ""),
        "b.png": ({"car"}, "cars"),
    }
    assert set(found.class_names) == {"car", "bus"}


def test_two_files_with_one_class_are_two_truths(tmp_path: Path) -> None:
    _cars_and_buses(tmp_path, "car")
    whole = one_truth(formats.load(tmp_path).items)
    assert [item.path.name for _, item in whole.items] == ["b.png"]
    assert len(whole.problems) == 2


def test_a_picture_with_two_entries_is_left_out_and_named(tmp_path: Path) -> None:
    document = _document(["a.png", "images/a.png", "b.png", "b.png"])
    document["annotations"][1]["bbox"] = [30, 20, 9, 9]
    _write(tmp_path / "annotations.json", document)
    for number, name in enumerate(("a", "b")):
        _picture(tmp_path / "images" / f"{name}.png", number)
    found = formats.load(tmp_path)
    assert _found(found, tmp_path) == ["images/b.png"]
    assert [one.where for one in found.problems] == [
        "annotations.json, image 1",
        "annotations.json, image 2",
    ]
    assert all("join them" in one.message for one in found.problems)
    assert any("1 images are listed again with the same objects" in note for note in found.notes)


def test_files_of_other_tasks_are_passed_over_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    _write(folder / "instances_val2017.json", _document(["a.png"]))
    _write(folder / "person_keypoints_val2017.json", _document(["a.png"], "person"))
    captions = {**_document(["a.png"]), "annotations": [{"image_id": 1, "caption": "a car"}]}
    del captions["categories"]
    _write(folder / "captions_val2017.json", captions)
    _write(tmp_path / "metadata.json", {"fps": 2})
    _picture(tmp_path / "val2017" / "a.png")
    found = formats.load(tmp_path)
    assert [item.labels for item in found.items] == [("car",)]
    (note,) = found.notes
    assert "passed over: 3" in note
    assert "metadata.json" in note
    with pytest.raises(AnnotationsInvalid, match="'categories' is not a list"):
        formats.load(folder / "captions_val2017.json")


def test_keypoints_alone_are_a_set(tmp_path: Path) -> None:
    _write(tmp_path / "annotations" / "person_keypoints_val2017.json", _document(["a.png"]))
    _picture(tmp_path / "val2017" / "a.png")
    assert len(formats.load(tmp_path).items) == 1


def test_a_damaged_file_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    _splits(tmp_path)
    file = tmp_path / "valid" / "_annotations.coco.json"
    file.write_text(file.read_text()[:-20])
    found = formats.load(tmp_path)
    assert _found(found, tmp_path) == ["test/test.png", "train/train.png"]
    (problem,) = found.problems
    assert problem.where == "valid/_annotations.coco.json"
    assert "it ends in the middle" in problem.message


def test_a_doubtful_file_among_several_is_named(tmp_path: Path) -> None:
    _splits(tmp_path)
    file = tmp_path / "test" / "_annotations.coco.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["image_id"] = 0
    _write(file, document)
    assert formats.load(tmp_path).doubt.startswith(
        "of test/_annotations.coco.json: it lists images"
    )
    assert formats.load(tmp_path, options=TRAINING).doubt == ""


def test_pictures_that_no_file_lists_are_told(tmp_path: Path) -> None:
    _write(tmp_path / "annotations.json", _document(["a.png"]))
    for number, name in enumerate(("images/a", "images/b", "images/c", "other/d")):
        _picture(tmp_path / f"{name}.png", number)
    assert "2 pictures beside them are in no COCO file" in formats.load(tmp_path).notes


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8"])
def test_all_encodings_of_json_are_read(tmp_path: Path, encoding: str, marked: bool) -> None:
    text = json.dumps(_document(["a.png"], "v\u00e9lo"), ensure_ascii=False)
    mark = "\ufeff" if marked else ""
    (tmp_path / "set.json").write_bytes((mark + text).encode(encoding))
    _picture(tmp_path / "a.png")
    assert formats.load(tmp_path).items[0].labels == ("v\u00e9lo",)


FOREIGN = {
    "a.zip": (b"PK\x03\x04rest", "an archive: unpack it"),
    "labels": (b"\x1f\x8brest", "an archive: unpack it"),
    "a.jpg": (b"\xff\xd8\xff\xe0", "a picture: name the folder"),
    "a.mp4": (b"\0\0\0\x20ftypisom", "a video"),
    "a.xml": (b"<annotation/>", "Pascal VOC: name the folder"),
    "a.csv": (b"a,b", "a text file"),
    "a.json": (
        b'[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]',
        "a list of detection results",
    ),
    "b.json": (b'[{"data": {}, "annotations": []}]', "Label Studio's own JSON"),
    "c.json": (b'{"shapes": [], "imagePath": "a.png"}', "a file of LabelMe"),
    "d.json": (
        b'{"images": [], "images": [], "categories": [], "annotations": []}',
        "'images' app",
    ),
    "e.json": (b'{"images": [], "categories": [], "annotations": [', "ends in the middle"),
    "f.json": ("v\u00e9lo".encode("cp1252"), "not text in UTF-8"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_coco_file_is_told_by_what_it_is(tmp_path: Path, name: str) -> None:
    data, said = FOREIGN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AnnotationsInvalid, match=said) as caught:
        formats.load(tmp_path / name)
    assert str(caught.value).startswith(name)
