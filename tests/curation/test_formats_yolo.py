"""YOLO: shares become pixels, class lists count, each bad row is named and its neighbours stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation import formats
from curation.formats import Imported, ReadOptions
from curation.kernel.errors import AnnotationsInvalid
from tests import bad_images

GOOD = "1 0.5 0.5 0.25 0.5\n"


def _only_problem(found: Imported) -> str:
    assert len(found.problems) == 1, found.problems
    return f"{found.problems[0].where}: {found.problems[0].message}"


def _yolo(folder: Path, yaml: str = "names: [car, 'bus']\n", **labels: str | bytes) -> Path:
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text(yaml)
    for number, (name, text) in enumerate(labels.items()):
        data = text if isinstance(text, bytes) else text.encode()
        (folder / "images" / f"{name}.png").write_bytes(bad_images.png(number))
        (folder / "labels" / f"{name}.txt").write_bytes(data)
    return folder


def test_yolo_shares_become_pixels(tmp_path: Path) -> None:
    found = formats.load(_yolo(tmp_path, a="1 0.5 0.5 0.25 0.5\n\n0 0.5 0.5 1 1 0.93\n", b=""))

    assert found.problems == ()
    assert found.items[0].labels == ("bus", "car")
    assert found.items[0].boxes_xyxy.tolist() == [[24, 12, 40, 36], [0, 0, 64, 48]]
    assert found.items[1].labels == ()


@pytest.mark.parametrize(
    "yaml",
    [
        "names: [car, bus]",
        "nc: 2\nnames:\n  - car\n  - 'bus'\n",
        "names:\n- car # a comment\n- bus\nval: x\n",
        'names:\n  1: bus\n  0: "car"\n',
    ],
)
def test_the_class_names_of_yolo_are_read(tmp_path: Path, yaml: str) -> None:
    assert formats.load(_yolo(tmp_path, yaml, a="")).class_names == ("car", "bus")


@pytest.mark.parametrize("yaml", ["nc: 2\n", "names:\n  - [car]\n", "names:\n  car\n"])
def test_yolo_without_class_names_is_an_error(tmp_path: Path, yaml: str) -> None:
    with pytest.raises(AnnotationsInvalid, match="names"):
        formats.load(_yolo(tmp_path, yaml, a=""))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("7 0.5 0.5 0.1 0.1", "class 7 of 2"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 of 2"),
        ("car 0.5 0.5 0.1 0.1", "expected `class cx cy width height`"),
        ("0 0.5 0.5 0.1", "expected `class"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.1", "found 8 numbers; an outline has"),
        ("0 0.5,0.5,0.1,0.1", "all numbers: '0.5,0.5,0.1,0.1' is none"),
        ("1.5 0.5 0.5 0.1 0.1", "the class 1.5 is no whole number"),
        ("nan 0.5 0.5 0.1 0.1", "'nan' is not finite"),
        ("0 0.5 0.5 -0.1 0.1", "inverted"),
        ("0 0.9 0.5 0.9 0.1", "leaves the 64x48 image"),
        ("0 nan 0.5 0.1 0.1", "not finite"),
        ("0 1e39 0.5 0.1 0.1", "not finite"),
    ],
)
def test_a_bad_yolo_line_is_named_and_its_neighbours_stay(
    tmp_path: Path, line: str, why: str
) -> None:
    other = "0 0.25 0.25 0.125 0.125\n"

    found = formats.load(_yolo(tmp_path, a=f"{GOOD}{line}\n{other}", b=GOOD))

    problem = _only_problem(found)
    assert problem.startswith("a.txt, line 2: left out")
    assert why in problem
    assert [len(item.labels) for item in found.items] == [2, 1]
    assert [len(item.refused) for item in found.items] == [1, 0]


def test_bad_yolo_files_cost_their_neighbours_nothing(tmp_path: Path) -> None:
    folder = _yolo(tmp_path, a=GOOD, b=b"\xff\xfe\x00 broke", c=GOOD, d=GOOD, e=b"0 \xe9 1\n")
    (folder / "images" / "c.png").write_bytes(bad_images.empty())
    (folder / "images" / "d.png").unlink()

    found = formats.load(folder)

    assert [item.path.name for item in found.items] == ["a.png"]
    problems = {one.where: (one.message[:40], one.loses) for one in found.problems}
    assert problems == {
        "b.txt": ("left out: line 1: not text in UTF-8 (byt", "image"),
        "c.png": ("left out: not a readable image (c.png: t", "image"),
        "d.txt": ("left out: there is no image of this name", "labels"),
        "e.txt": ("left out: line 1: not text in UTF-8 (byt", "image"),
    }


def test_yolo_as_editors_and_labelling_tools_leave_it(tmp_path: Path) -> None:
    """A byte order mark, and the class names beside the labels."""
    folder = _yolo(tmp_path, a=b"\xef\xbb\xbf0 0.5 0.5 1 1\r\n")
    (folder / "data.yaml").unlink()
    (folder / "labels" / "classes.txt").write_bytes(b"\xef\xbb\xbfcar\r\nbus\r\n")

    found = formats.load(folder)

    assert found.problems == ()
    assert found.class_names == ("car", "bus")
    assert found.items[0].labels == ("car",)


def test_yolo_shares_are_of_the_upright_picture(tmp_path: Path) -> None:
    folder = _yolo(tmp_path, a="0 0.5 0.5 1 1\n")
    (folder / "images" / "a.png").write_bytes(bad_images.rotated_by_exif())

    found = formats.load(folder)

    assert found.items[0].boxes_xyxy.tolist() == [[0, 0, bad_images.HEIGHT, bad_images.WIDTH]]


def test_marks_comments_and_empty_files(tmp_path: Path) -> None:
    """Files that were joined have a mark in the middle; an empty one says that nothing is there."""
    text = "\ufeff1 0.5 0.5 0.25 0.5\r\n# 0 0.1 0.1 0.1 0.1\r\n\ufeff0 0.5 0.5 1 1\r\n"
    folder = _yolo(tmp_path, a=text, b="", c="\n \n")
    (folder / "images" / "d.png").write_bytes(bad_images.png(9))

    found = formats.load(folder)

    assert found.problems == ()
    assert [item.labels for item in found.items] == [("bus", "car"), (), (), ()]
    assert [item.unlabelled for item in found.items] == [False, False, False, True]
    assert found.notes == ("1 lines begin with # and were passed over",)


@pytest.mark.parametrize("number", ["1", "1.0", "1e+00", "1.000000000000000000e+00", "+1", "01"])
def test_a_whole_number_is_a_class_however_it_is_written(tmp_path: Path, number: str) -> None:
    found = formats.load(_yolo(tmp_path, a=f"{number} 0.5 0.5 0.25 0.5\n"))

    assert found.problems == ()
    assert found.items[0].labels == ("bus",)


def test_a_number_without_a_name_is_refused_and_those_behind_it_keep_theirs(tmp_path: Path) -> None:
    folder = _yolo(tmp_path, a="1 0.5 0.5 0.25 0.5\n2 0.25 0.25 0.1 0.1\n", b=GOOD)
    (folder / "data.yaml").write_text("names: {1: bus, 3: van}\n")

    found = formats.load(folder)

    assert found.class_names == ("bus", "van")
    assert found.items[0].labels == ("bus",)
    assert "class 2 has no name in the list" in _only_problem(found)


def test_the_classes_that_a_person_gives_count(tmp_path: Path) -> None:
    folder = _yolo(tmp_path, yaml="names: [a, b]\n", a=GOOD)

    found = formats.load(folder, options=ReadOptions(class_names=(None, "tram")))

    assert found.class_names == ("tram",)
    assert found.items[0].labels == ("tram",)


def test_a_row_that_is_there_twice_is_one_object(tmp_path: Path) -> None:
    found = formats.load(_yolo(tmp_path, a=GOOD + "1 0.50 0.500 0.25 0.5\n"))

    assert found.items[0].labels == ("bus",)
    assert "1 rows say again" in found.notes[0]
