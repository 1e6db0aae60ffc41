"""Where YOLO's files lie: the layouts of tools, names of other computers, nothing from outside."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest

from curation import formats
from curation.formats import Imported, ReadOptions
from curation.kernel.errors import AnnotationsInvalid
from tests import bad_images

ROW = "1 0.5 0.5 0.25 0.5\n"
YAML = "names: [car, bus]\n"


def _make(root: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files; a picture has its own content, by its place."""
    for place, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text == "picture":
            path.write_bytes(bad_images.png(place))
        else:
            path.write_text(text)
    return root


def _labels(found: Imported, root: Path) -> dict[str, int]:
    """How many objects each picture has; -1 where nothing is said of it."""
    return {
        item.path.relative_to(root).as_posix(): -1 if item.unlabelled else len(item.labels)
        for item in found.items
    }


LAYOUTS: dict[str, dict[str, str]] = {
    "ultralytics": {
        "images/a.png": "picture",
        "images/night/b.png": "picture",
        "labels/a.txt": ROW,
        "labels/night/b.txt": "",
        "data.yaml": YAML,
    },
    "darknet": {
        "data/a.png": "picture",
        "data/a.txt": ROW,
        "data/night/b.png": "picture",
        "data/night/b.txt": "",
        "coco.names": "car\nbus\n",
        "README.txt": "made by hand\n",
    },
    "labelImg": {
        "a.png": "picture",
        "a.txt": ROW,
        "b.png": "picture",
        "b.txt": "",
        "classes.txt": "car\nbus\n",
    },
    "labels below the pictures": {
        "a.png": "picture",
        "b.png": "picture",
        "labels/a.txt": ROW,
        "labels/b.txt": "",
        "labels/classes.txt": "car\nbus\n",
    },
    "CVAT": {
        "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
        "obj.names": "car\nbus\n",
        "train.txt": "data/obj_train_data/a.png\ndata/obj_train_data/x/b.png\n",
        "obj_train_data/a.png": "picture",
        "obj_train_data/a.txt": ROW,
        "obj_train_data/x/b.png": "picture",
        "obj_train_data/x/b.txt": "",
    },
    "Label Studio": {
        "classes.txt": "car\nbus\n",
        "notes.json": '{"categories": [{"id": 0, "name": "car"}, {"id": 1, "name": "bus"}]}',
        "images/0a1b2c3d-a.png": "picture",
        "labels/0a1b2c3d-a.txt": ROW,
        "images/b.png": "picture",
        "labels/4e5f6a7b-b.txt": "",
    },
    "Label Studio, prefixes of the pictures": {
        "classes.txt": "car\nbus\n",
        "images/0a1b2c3d-a.png": "picture",
        "labels/a.txt": ROW,
        "images/0a1b2c3e-b.png": "picture",
        "labels/b.txt": "",
    },
    "shouting": {
        "Images/A.PNG": "picture",
        "Labels/A.TXT": ROW,
        "Images/b.png": "picture",
        "Labels/B.txt": "",
        "data.yaml": YAML,
    },
    "words in the names of folders": {
        "train_images/a.png": "picture",
        "train_labels/a.txt": ROW,
        "train_images/b.png": "picture",
        "train_labels/b.txt": "",
        "data.yaml": YAML,
    },
    "Roboflow's darknet": {
        "train/a_png.rf.0123.png": "picture",
        "train/a_png.rf.0123.txt": ROW,
        "train/_darknet.labels": "car\nbus\n",
        "train/b.png": "picture",
        "train/b.txt": "",
        "README.roboflow.txt": "0 rows of these\n",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fmt", [None, "yolo"])
def test_the_layouts_of_tools_are_read(tmp_path: Path, layout: str, fmt: str | None) -> None:
    files = LAYOUTS[layout]
    if fmt is None and "notes.json" in files:
        files = {name: text for name, text in files.items() if name != "notes.json"}

    found = formats.load(_make(tmp_path, files), fmt)

    assert found.doubt == ""
    assert found.problems == ()
    assert found.notes == ()
    assert found.class_names == ("car", "bus")
    assert list(_labels(found, tmp_path).values()) == [1, 0]
    assert found.items[0].labels == ("bus",)


def test_forms_of_one_letter_are_one_name(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "é1")
    apart = unicodedata.normalize("NFD", "é1")
    files = {f"images/{composed}.png": "picture", f"labels/{apart}.txt": ROW, "data.yaml": YAML}

    found = formats.load(_make(tmp_path, files))

    assert found.problems == ()
    assert found.items[0].labels == ("bus",)


def test_a_name_that_fits_exactly_comes_before_one_that_nearly_does(tmp_path: Path) -> None:
    files = {
        "images/a.png": "picture",
        "images/A.png": "picture",
        "images/0a1b2c3d-a.png": "picture",
        "images/20260101-a.png": "picture",
        "labels/a.txt": ROW,
        "labels/A.txt": ROW * 2 + "0 0.5 0.5 0.1 0.1\n",
        "data.yaml": YAML,
    }

    found = formats.load(_make(tmp_path, files))

    assert _labels(found, tmp_path) == {
        "images/0a1b2c3d-a.png": -1,
        "images/20260101-a.png": -1,
        "images/A.png": 2,
        "images/a.png": 1,
    }


def test_what_two_pictures_claim_belongs_to_neither(tmp_path: Path) -> None:
    files = {
        "images/f0.jpg": "picture",
        "images/f0.png": "picture",
        "images/f1.png": "picture",
        "labels/f0.txt": ROW,
        "labels/f1.txt": ROW,
        "data.yaml": YAML,
    }

    found = formats.load(_make(tmp_path, files))

    assert _labels(found, tmp_path) == {"images/f1.png": 1}
    assert [(one.where, one.loses) for one in found.problems] == [
        ("f0.jpg", "image"),
        ("f0.png", "image"),
    ]
    assert "f0.txt may be its label file or that of f0.png" in found.problems[0].message
    (tmp_path / "images" / "f0.jpg").write_bytes((tmp_path / "images" / "f0.png").read_bytes())
    assert _labels(formats.load(tmp_path), tmp_path)["images/f0.jpg"] == 1


def test_two_label_files_of_one_picture_contradict_each_other(tmp_path: Path) -> None:
    files = {
        "images/a.png": "picture",
        "images/a.txt": ROW,
        "labels/a.txt": "0 0.5 0.5 0.1 0.1\n",
        "images/b.png": "picture",
        "images/b.txt": ROW,
        "labels/b.txt": ROW,
        "data.yaml": YAML,
    }

    found = formats.load(_make(tmp_path, files))

    assert _labels(found, tmp_path) == {"images/b.png": 1}
    assert "labels/a.txt, images/a.txt; keep" in found.problems[0].message


def test_uploads_of_one_name_are_not_guessed(tmp_path: Path) -> None:
    files = {
        "images/a.png": "picture",
        "labels/0a1b2c3d-a.txt": ROW,
        "labels/4e5f6a7b-a.txt": "0 0.5 0.5 0.1 0.1\n",
        "images/0a1b2c3d-b.png": "picture",
        "images/4e5f6a7b-b.png": "picture",
        "labels/b.txt": ROW,
        "images/c.png": "picture",
        "labels/c.txt": "",
        "data.yaml": YAML,
    }

    found = formats.load(_make(tmp_path, files))

    assert _labels(found, tmp_path) == {"images/c.png": 0}
    assert [one.where for one in found.problems] == ["0a1b2c3d-b.png", "4e5f6a7b-b.png", "a.png"]


def test_a_date_before_a_name_is_no_prefix_of_an_upload(tmp_path: Path) -> None:
    files = {
        "images/a.png": "picture",
        "labels/20260101-a.txt": ROW,
        "images/b.png": "picture",
        "labels/b.txt": ROW,
        "data.yaml": YAML,
    }

    found = formats.load(_make(tmp_path, files))

    assert _labels(found, tmp_path) == {"images/b.png": 1}
    assert [one.where for one in found.problems] == ["a.png", "20260101-a.txt"]


def test_captions_beside_pictures_are_no_labels(tmp_path: Path) -> None:
    files = {
        "images/a.png": "picture",
        "images/a.txt": "a bus in the rain\n",
        "labels/a.txt": ROW,
        "data.yaml": YAML,
    }

    found = formats.load(_make(tmp_path, files))

    assert found.problems == ()
    assert _labels(found, tmp_path) == {"images/a.png": 1}


def test_folders_that_differ_are_no_reason_to_guess_by_a_common_name(tmp_path: Path) -> None:
    labels = _make(
        tmp_path / "a",
        {"classes.txt": "car\nbus\n", "one/0001.txt": ROW, "three/0001.txt": ROW},
    )
    pictures = _make(
        tmp_path / "b", {"one/0001.png": "picture", "two/0001.png": "picture", "x.png": "picture"}
    )

    found = formats.load(labels, "yolo", options=ReadOptions(images=pictures))

    assert _labels(found, pictures) == {"one/0001.png": 1, "x.png": -1}
    assert [one.where for one in found.problems] == ["0001.png", "three/0001.txt"]


def test_labels_without_a_picture_are_named(tmp_path: Path) -> None:
    files = {
        "train/images/a.png": "picture",
        "train/images/b.png": "picture",
        "train/labels/a.txt": ROW,
        "train/labels/b.txt": ROW,
        "train/labels/gone.txt": ROW,
        "train/labels/._a.txt": "\0\0",
        "data.yaml": YAML,
    }
    found = formats.load(_make(tmp_path, files))

    assert [one.where for one in found.problems] == ["gone.txt"]
    assert found.doubt == ""


def test_pictures_without_a_single_label_are_in_doubt(tmp_path: Path) -> None:
    files = {"images/a.png": "picture", "images/b.png": "picture", "data.yaml": YAML}

    found = formats.load(_make(tmp_path, files))

    assert found.doubt == "none of its 2 images has a label file"


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    disk = _make(
        tmp_path / "disk",
        {"images/a.png": "picture", "labels/a.txt": ROW, "b": "picture", "b.txt": ROW},
    )
    root = _make(tmp_path / "set", {"data.yaml": YAML, "images/c.png": "picture"})
    (root / "labels").mkdir()
    (root / "images" / "train").symlink_to(disk / "images")
    (root / "labels" / "train").symlink_to(disk / "labels")
    (root / "images" / "b.png").symlink_to(disk / "b")
    (root / "labels" / "b.txt").symlink_to(disk / "b.txt")

    found = formats.load(root)

    assert _labels(found, root) == {"images/b.png": 1, "images/c.png": -1, "images/train/a.png": 1}


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    labels = _make(
        tmp_path / "labels-only",
        {
            "classes.txt": "car\nbus\n",
            "labels/a.txt": ROW,
            "labels/day/b.txt": ROW,
            "labels/0a1b2c3d-c.txt": ROW,
            "labels/old/d.txt": ROW,
            "labels/e.txt": ROW,
        },
    )
    pictures = _make(
        tmp_path / "pictures",
        {
            "a.png": "picture",
            "day/b.png": "picture",
            "c.png": "picture",
            "new/d.png": "picture",
            "one/e.jpg": "picture",
            "two/e.jpg": "picture",
        },
    )
    with pytest.raises(
        AnnotationsInvalid, match="no image in it; name the folder that they lie in with `--images`"
    ):
        formats.load(labels, "yolo")

    found = formats.load(labels, options=ReadOptions(images=pictures))

    assert _labels(found, pictures) == {
        "a.png": 1,
        "c.png": 1,
        "day/b.png": 1,
        "new/d.png": 1,
    }
    assert [one.where for one in found.problems] == ["e.jpg", "e.jpg", "e.txt"]
    assert "labels/e.txt may be its label file or another's" in found.problems[0].message


CONTRADICTIONS = {
    "classes.txt and data.yaml disagree: class 0 is 'bus' in the one and 'car'": {
        "classes.txt": "bus\ncar\n",
        "data.yaml": YAML,
    },
    "data.yaml and obj.names disagree: 'car' is class 0 in the one and 2 in the other": {
        "data.yaml": YAML,
        "obj.names": "\n\ncar\n",
    },
    "data.yaml and labels/classes.txt disagree": {
        "data.yaml": YAML,
        "labels/classes.txt": "van\n",
    },
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_lists_of_classes_that_disagree_are_named(tmp_path: Path, said: str) -> None:
    files = {"images/a.png": "picture", "labels/a.txt": ROW, **CONTRADICTIONS[said]}

    found = formats.load(_make(tmp_path, files))

    assert said in found.doubt
    assert "`--classes FILE`" in found.doubt
    options = ReadOptions(class_names=("tram", "train"))
    assert formats.load(tmp_path, options=options).items[0].labels == ("train",)


def test_lists_of_parts_agree_with_the_whole(tmp_path: Path) -> None:
    files = {
        "images/a.png": "picture",
        "labels/a.txt": ROW,
        "labels/classes.txt": "car\n",
        "data.yaml": "names: {1: bus, 2: van}\n",
    }

    found = formats.load(_make(tmp_path, files))

    assert found.doubt == ""
    assert found.class_names == ("car", "bus", "van")


def test_a_list_that_was_named_counts_and_that_is_said(tmp_path: Path) -> None:
    files = {"images/a.png": "picture", "labels/a.txt": ROW, "data.yaml": YAML}
    _make(tmp_path, {**files, "classes.txt": "bus\ncar\n"})

    found = formats.load(tmp_path / "data.yaml")

    assert found.items[0].labels == ("bus",)
    assert "data.yaml counts, for it was named" in found.notes[0]


@pytest.mark.parametrize("above", ["data.yaml", "classes.txt"])
def test_no_list_from_above_or_beside_is_believed(tmp_path: Path, above: str) -> None:
    files = {
        above: YAML if above.endswith("yaml") else "car\nbus\n",
        "test/images/a.png": "picture",
        "test/labels/a.txt": ROW,
        "train/classes.txt": "bus\ncar\n",
    }
    root = _make(tmp_path / "set", files)

    with pytest.raises(AnnotationsInvalid) as refused:
        formats.load(root / "test")

    assert f"{above!r} lies above it, in 'set': name that folder instead" in str(refused.value)
    assert "with `--split test`, or give the list with `--classes FILE`" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_a_folder_of_pictures_in_a_set_is_told_where_its_labels_lie(tmp_path: Path) -> None:
    files = {"images/test/a.png": "picture", "labels/test/a.txt": ROW, "data.yaml": YAML}
    root = _make(tmp_path / "set", files)

    assert not formats.load(root / "images" / "test").labelled
    assert formats.hint_above(root / "images" / "test") == (
        "'data.yaml' lies above it, in 'set': name that folder instead, with `--split test`"
    )
    with pytest.raises(AnnotationsInvalid, match=r"no image and .* lies above it, in 'set'"):
        formats.load(root / "labels" / "test")
    assert formats.hint_above(root) == ""
    assert formats.hint_above(tmp_path / "gone") == ""


def test_files_that_are_no_part_of_a_set_are_no_labels(tmp_path: Path) -> None:
    files = {
        "images/a.png": "picture",
        "labels/a.txt": ROW,
        "data.yaml": YAML,
        "requirements.txt": "torch==2.0\n",
        "LICENSE.txt": "all rights\n",
        "results.csv": "1,2\n",
        "labels.cache": "x",
        "lists/all.txt": "images/a.png\n",
        "weights.pt": "x",
    }

    found = formats.load(_make(tmp_path, files))

    assert found.problems == ()
    assert found.notes == (
        "files that are not read were passed over: 1 .pt; make pictures JPEG or PNG",
    )


def test_a_folder_with_texts_beside_pictures_is_not_yolo(tmp_path: Path) -> None:
    files = {"a.png": "picture", "a.txt": "a bus in the rain\n", "b.png": "picture", "b.txt": ""}

    assert formats.formats_of(_make(tmp_path, files)) == ["images"]
