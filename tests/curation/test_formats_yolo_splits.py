"""Splits of YOLO sets, by description, lists and folders; what leads out is not followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation import formats
from curation.formats import ReadOptions, SplitChoice
from curation.kernel.errors import AnnotationsInvalid
from tests.curation.test_formats_yolo_layout import ROW, YAML, _labels, _make

TRAIN = ReadOptions(splits=SplitChoice(purpose="train"))
EVALUATE = ReadOptions(splits=SplitChoice(purpose="evaluate"))


def _named(*names: str) -> ReadOptions:
    return ReadOptions(splits=SplitChoice(named=names))


def _pairs(*places: str) -> dict[str, str]:
    """Pictures at these places, with a label each."""
    files = {}
    for place in places:
        label = place.replace("images", "labels").rpartition(".")[0] + ".txt"
        files |= {place: "picture", label: ROW}
    return files


NESTED = _pairs("images/train/a.png", "images/val/b.png", "images/test/c.png")
ROBOFLOW = _pairs("train/images/a.png", "valid/images/b.png", "test/images/c.png")
FLAT = _pairs("images/a.png", "images/b.png", "images/c.png")
SETS = {
    "folders alone": (NESTED, YAML),
    "folders of years": (
        _pairs("images/train2017/a.png", "images/val2017/b.png", "images/test2017/c.png"),
        YAML,
    ),
    "keys": (NESTED, f"{YAML}train: images/train\nval: images/val\ntest: images/test\n"),
    "keys and path": (
        NESTED,
        f"{YAML}path: ../datasets/set\ntrain: images/train\nval: images/val\ntest: images/test\n",
    ),
    "a path inside": (
        _pairs("d/images/x/a.png", "d/images/y/b.png", "d/images/z/c.png"),
        f"{YAML}path: d\ntrain: images/x\nval: images/y\ntest: images/z\n",
    ),
    "Roboflow": (
        ROBOFLOW,
        f"{YAML}train: ../train/images\nval: ../valid/images\ntest: ../test/images\n",
    ),
    "another computer": (
        ROBOFLOW,
        YAML + "train: C:\\data\\set\\train\\images\nval: /content/set/valid/images\n"
        "test: /content/set/test/images\n",
    ),
    "lists in the description": (
        FLAT | {"lists/t.txt": "./images/a.png\n", "v.txt": "images/b.png\n"},
        f"{YAML}train: lists/t.txt\nval: [v.txt]\ntest: [/x/c.txt]\n",
    ),
    "lists of folders": (
        _pairs("p/images/a.png", "q/images/b.png", "r/images/c.png"),
        f"{YAML}train: [p/images]\nval:\n  - q/images\ntest:\n  - r/images\n",
    ),
    "lists alone": (
        FLAT
        | {
            "train.txt": "/home/me/images/a.png\r\n",
            "valid.txt": "images/b.png\n",
            "test.txt": "\ufeffdata\\images\\c.png\n",
        },
        YAML,
    ),
}
SETS["lists in the description"][0]["c.txt"] = "images/c.png\n"


@pytest.mark.parametrize("name", SETS)
def test_splits_are_honoured(tmp_path: Path, name: str) -> None:
    files, yaml = SETS[name]
    root = _make(tmp_path / "set", files | {"data.yaml": yaml})

    def taken(source: Path, options: ReadOptions) -> list[str]:
        found = formats.load(source, options=options)
        assert found.problems == ()
        assert found.doubt == ""
        return [item.path.stem for item in found.items]

    for source in (root, root / "data.yaml"):
        assert taken(source, TRAIN) == ["a"]
        assert taken(source, EVALUATE) == ["c"]
        assert taken(source, _named("valid")) == ["b"]
        assert sorted(taken(source, _named("train", "val"))) == ["a", "b"]
        assert sorted(taken(source, ReadOptions())) == ["a", "b", "c"]


def test_what_is_left_aside_is_told(tmp_path: Path) -> None:
    notes = formats.load(_make(tmp_path, NESTED | {"data.yaml": YAML}), options=TRAIN).notes

    assert notes == (
        "left aside: 1 images of split test, 1 images of split val; `--split` chooses",
    )


def test_subsets_of_cvat(tmp_path: Path) -> None:
    files = _pairs("obj_train_data/a.png", "obj_Validation_data/b.png", "obj_Test_data/c.png")
    files |= {
        "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/Validation.txt\n"
        "test = data/Test.txt\nnames = data/obj.names\nbackup = backup/\n",
        "obj.names": "car\nbus\n",
        "train.txt": "data/obj_train_data/a.png\n",
        "Validation.txt": "data/obj_Validation_data/b.png\n",
        "Test.txt": "data/obj_Test_data/c.png\n",
    }
    root = _make(tmp_path, files)

    for source in (root, root / "obj.data"):
        assert _labels(formats.load(source, options=TRAIN), root) == {"obj_train_data/a.png": 1}
        assert list(_labels(formats.load(source, options=EVALUATE), root)) == [
            "obj_Test_data/c.png"
        ]


def test_a_split_that_is_named_itself_is_taken_whole(tmp_path: Path) -> None:
    files = ROBOFLOW | {"valid/classes.txt": "car\nbus\n"}
    root = _make(tmp_path / "set", files)

    for options in (TRAIN, EVALUATE, ReadOptions()):
        assert len(formats.load(root / "valid", options=options).items) == 1


def test_train_and_val_that_are_one_hold_nothing_out(tmp_path: Path) -> None:
    yaml = f"{YAML}train: images\nval: images\n"
    found = formats.load(_make(tmp_path, FLAT | {"data.yaml": yaml}), options=TRAIN)

    assert len(found.items) == 3
    assert "its val is its train: no picture is held out" in found.notes


def test_nothing_outside_is_followed_and_that_is_said(tmp_path: Path) -> None:
    other = _make(tmp_path / "other", _pairs("images/test/x.png", "images/far/y.png"))
    yaml = f"{YAML}path: {other}\ntrain: images/train\ntest: images/test\nval: {other}/images/far\n"
    root = _make(tmp_path / "set", _pairs("images/train/a.png") | {"data.yaml": yaml})

    found = formats.load(root)

    assert list(_labels(found, root)) == ["images/train/a.png"]
    assert len(found.notes) == 3
    assert "data.yaml: its `path` (" in found.notes[0]
    assert "is not inside of what was named and was not followed" in found.notes[0]
    assert "its test (images/test) is not inside" in " ".join(found.notes)
    with pytest.raises(AnnotationsInvalid, match=r"no split test.*its test .* is not inside"):
        formats.load(root, options=_named("test"))


def test_pictures_that_a_list_names_and_that_are_gone_are_told(tmp_path: Path) -> None:
    files = FLAT | {"train.txt": "images/a.png\nimages/gone.png\nimages/c.png\n"}

    found = formats.load(_make(tmp_path, files | {"data.yaml": YAML}))

    assert "train.txt lists 1 pictures that are not here: images/gone.png" in found.notes


def test_splits_of_pictures_that_lie_elsewhere(tmp_path: Path) -> None:
    labels = {name: text for name, text in NESTED.items() if name.startswith("labels")}
    yaml = f"{YAML}train: images/train\nval: images/val\ntest: images/test\n"
    root = _make(tmp_path / "set", labels | {"data.yaml": yaml})
    pictures = {
        name.removeprefix("images/"): text for name, text in NESTED.items() if text == "picture"
    }
    elsewhere = _make(tmp_path / "elsewhere", pictures)
    options = ReadOptions(images=elsewhere, splits=SplitChoice(named=("val",)))

    assert _labels(formats.load(root, options=options), elsewhere) == {"val/b.png": 1}


def test_a_picture_in_two_splits_is_not_trained_on(tmp_path: Path) -> None:
    files = FLAT | {"train.txt": "images/a.png\nimages/b.png\n", "val.txt": "images/b.png\n"}

    found = formats.load(_make(tmp_path, files | {"data.yaml": YAML}), options=TRAIN)

    assert list(_labels(found, tmp_path)) == ["images/a.png"]
    assert any("listed in a split that was taken" in note for note in found.notes)


def test_what_is_in_no_split_is_train_where_only_others_are_set_apart(tmp_path: Path) -> None:
    files = _pairs("images/a.png", "images/val/b.png") | {"data.yaml": YAML}

    found = formats.load(_make(tmp_path, files), options=TRAIN)

    assert list(_labels(found, tmp_path)) == ["images/a.png"]
    assert "1 images are in no split: they count as train" in found.notes


def test_val_alone_is_not_trained_on_where_train_is_elsewhere(tmp_path: Path) -> None:
    yaml = f"{YAML}train: images/train\nval: images/val\ntest: images/test\n"
    root = _make(tmp_path, _pairs("images/val/b.png") | {"data.yaml": yaml})

    assert formats.load(root, options=TRAIN).items == ()
    assert "its train (images/train) is not inside" in formats.load(root, options=TRAIN).notes[0]
    assert len(formats.load(root, options=EVALUATE).items) == 1


def test_what_a_single_list_leaves_out_is_told(tmp_path: Path) -> None:
    files = FLAT | {"train.txt": "images/a.png\n", "data.yaml": f"{YAML}train: train.txt\n"}

    found = formats.load(_make(tmp_path, files), options=TRAIN)

    assert len(found.items) == 3
    assert "2 images are in no split that is listed; they were taken, too" in found.notes
