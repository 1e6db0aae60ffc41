"""VOC as sets lie on disks: layouts, names, splits, where pixels are counted from, other shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from curation import formats
from curation.formats import Imported, ReadOptions, SplitChoice
from curation.kernel.errors import AnnotationsInvalid
from tests import bad_images

TRAINING = ReadOptions(splits=SplitChoice(purpose="train"))
SIZE = "<size><width>64</width><height>48</height></size>"


def _box(*corners: float | str, extra: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    inner = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>car</name>{extra}<bndbox>{inner}</bndbox></object>"


def _write(file: Path, *objects: str, filename: str | None = None, size: str = SIZE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    name = f"{file.stem}.png" if filename is None else filename
    inner = "".join(objects or (_box(3, 4, 12, 11),))
    file.write_text(f"<annotation><filename>{name}</filename>{size}{inner}</annotation>")


def _picture(file: Path, number: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bad_images.png(number))
    return file


def _set(root: Path, *images: Sequence[str], size: str = SIZE) -> Imported:
    """A set with these objects in its images."""
    for number, objects in enumerate(images):
        _write(root / "Annotations" / f"f{number}.xml", *objects, size=size)
        _picture(root / "JPEGImages" / f"f{number}.png", number)
    return formats.load(root)


def _found(imported: Imported, root: Path) -> list[str]:
    return [item.path.relative_to(root).as_posix() for item in imported.items]


@pytest.mark.parametrize(
    ("xml", "picture"),
    [
        ("Annotations/a.xml", "JPEGImages/a.png"),
        ("annotations/a.XML", "images/a.PNG"),
        ("Annotations/night/a.xml", "JPEGImages/night/a.png"),
        ("Annotations/night/a.xml", "JPEGImages/a.png"),
        ("VOCdevkit/VOC2007/Annotations/a.xml", "VOCdevkit/VOC2007/JPEGImages/a.png"),
        ("a.xml", "a.png"),
        ("train/a.xml", "train/a.png"),
        ("xml/a.xml", "jpg/a.png"),
        ("Annotations/a.png.xml", "JPEGImages/a.png"),
        ("Annotations/\u00e9.xml", "JPEGImages/e\u0301.png"),
    ],
)
def test_xml_is_read_wherever_it_lies(tmp_path: Path, xml: str, picture: str) -> None:
    _write(tmp_path / xml)
    _picture(tmp_path / picture)
    found = formats.load(tmp_path)
    assert found.problems == ()
    assert found.notes == ()
    assert _found(found, tmp_path) == [picture]
    assert found.items[0].boxes_xyxy.tolist() == [[2, 3, 12, 11]]


def test_sub_folders_with_the_same_names_are_kept_apart(tmp_path: Path) -> None:
    for number, folder in enumerate(("day", "night")):
        _write(tmp_path / "Annotations" / folder / "a.xml", _box(3, 4, 12 + number, 11))
        _picture(tmp_path / "JPEGImages" / folder / "a.png", number)
    found = formats.load(tmp_path)
    assert {item.path.parent.name: item.boxes_xyxy[0, 2] for item in found.items} == {
        "day": 12,
        "night": 13,
    }


@pytest.mark.parametrize("filename", ["", "f0", "f0.jpg", "C:\\mia\\f0.png", "../../x/f0.png"])
def test_the_name_inside_a_file_matters_only_where_it_must(tmp_path: Path, filename: str) -> None:
    _write(tmp_path / "Annotations" / "f0.xml", filename=filename)
    _picture(tmp_path / "JPEGImages" / "f0.PNG")
    found = formats.load(tmp_path)
    assert (found.problems, found.notes) == ((), ())
    assert _found(found, tmp_path) == ["JPEGImages/f0.PNG"]


def test_a_file_whose_name_no_picture_has_is_of_the_one_that_it_names(tmp_path: Path) -> None:
    _write(tmp_path / "Annotations" / "000001.xml", filename="frame.png")
    _picture(tmp_path / "JPEGImages" / "frame.png")
    assert _found(formats.load(tmp_path), tmp_path) == ["JPEGImages/frame.png"]


def test_files_that_were_renamed_keep_their_labels_and_the_contradiction_is_told(
    tmp_path: Path,
) -> None:
    for number in range(3):
        name = f"f{number + 1}.png"
        _write(
            tmp_path / "Annotations" / f"f{number}.xml", _box(3 + number, 4, 12, 11), filename=name
        )
        _picture(tmp_path / "JPEGImages" / f"f{number}.png", number)
    found = formats.load(tmp_path)
    assert [(item.path.stem, item.boxes_xyxy[0, 0]) for item in found.items] == [
        ("f0", 2),
        ("f1", 3),
        ("f2", 4),
    ]
    (note,) = found.notes
    assert "of 3 XML files is of another picture (f0.xml has f1.png, f1.xml has f2.png, " in note


def test_pictures_that_differ_in_their_suffix_need_the_name_inside(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "a.bmp", "b.png", "b.bmp")):
        _picture(tmp_path / "JPEGImages" / name, number)
    _write(tmp_path / "Annotations" / "a.xml", filename="a.bmp")
    _write(tmp_path / "Annotations" / "b.xml", filename="")
    found = formats.load(tmp_path)
    assert _found(found, tmp_path) == ["JPEGImages/a.bmp"]
    (problem,) = found.problems
    assert "b.xml may be of JPEGImages/b.bmp, JPEGImages/b.png" in problem.message


def test_two_files_of_one_picture_are_left_out_and_named(tmp_path: Path) -> None:
    _write(tmp_path / "Annotations" / "a.xml", _box(3, 4, 12, 11))
    _write(tmp_path / "old" / "a.xml", _box(3, 4, 20, 11))
    _write(tmp_path / "Annotations" / "b.xml")
    _write(tmp_path / "old" / "b.xml")
    for number, name in enumerate(("a", "b")):
        _picture(tmp_path / "JPEGImages" / f"{name}.png", number)
    found = formats.load(tmp_path)
    assert _found(found, tmp_path) == ["JPEGImages/b.png"]
    assert [one.where for one in found.problems] == ["a.xml", "old/a.xml"]
    assert any("1 XML files say again" in note for note in found.notes)


def test_what_is_no_annotation_is_passed_over(tmp_path: Path) -> None:
    _write(tmp_path / "Annotations" / "a.xml")
    _picture(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations" / "._a.xml").write_bytes(b"\0\5\x16\7Mac OS X")
    (tmp_path / "project.xml").write_text("<annotations><image/></annotations>")
    found = formats.load(tmp_path)
    assert found.problems == ()
    assert len(found.items) == 1
    (note,) = found.notes
    assert "1 XML files that are no VOC annotations were passed over: project.xml" in note


def test_a_folder_without_voc_annotations_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(AnnotationsInvalid, match="no XML file of Pascal VOC"):
        formats.load(tmp_path, "voc")


def _listed(root: Path, **lists: str) -> None:
    for number in range(4):
        _write(root / "Annotations" / f"f{number}.xml")
        _picture(root / "JPEGImages" / f"f{number}.png", number)
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)


def test_the_lists_of_splits_are_honoured(tmp_path: Path) -> None:
    _listed(
        tmp_path,
        train="f0\nf1\n",
        val="f2",
        trainval="f0\nf1\nf2",
        test="f3.png",
        car_train="f0 1\nf1 -1\n",
        default="f0\nf1\nf2\nf3",
    )
    found = formats.load(tmp_path, options=TRAINING)
    assert _found(found, tmp_path) == ["JPEGImages/f0.png", "JPEGImages/f1.png"]
    assert "1 images of split test, 1 images of split val" in found.notes[0]
    assert len(formats.load(tmp_path).items) == 4
    tested = formats.load(tmp_path, options=ReadOptions(splits=SplitChoice(("test",))))
    assert _found(tested, tmp_path) == ["JPEGImages/f3.png"]


def test_what_no_list_holds_out_is_to_train_on(tmp_path: Path) -> None:
    _listed(tmp_path, test="f2\nf3")
    found = formats.load(tmp_path, options=TRAINING)
    assert _found(found, tmp_path) == ["JPEGImages/f0.png", "JPEGImages/f1.png"]
    assert "2 images of split test" in found.notes[0]


def test_names_in_lists_may_have_folders(tmp_path: Path) -> None:
    for number, folder in enumerate(("day", "night")):
        _write(tmp_path / "Annotations" / folder / "a.xml")
        _picture(tmp_path / "JPEGImages" / folder / "a.png", number)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("day/a\n")
    (lists / "test.txt").write_text("/home/mia/set/JPEGImages/night/a.png\n")
    found = formats.load(tmp_path, options=TRAINING)
    assert _found(found, tmp_path) == ["JPEGImages/day/a.png"]


def test_folders_are_splits_where_nothing_lists_them(tmp_path: Path) -> None:
    for number, folder in enumerate(("train", "valid", "test")):
        _write(tmp_path / folder / "a.xml")
        _picture(tmp_path / folder / "a.png", number)
    found = formats.load(tmp_path, options=TRAINING)
    assert _found(found, tmp_path) == ["train/a.png"]
    assert "left aside" in found.notes[0]


@pytest.mark.parametrize(
    ("images", "first", "why"),
    [
        ([[_box(0, 0, 63, 47)], [_box(20, 20, 30, 30)]], [0, 0, 63, 47], "1 boxes begin at 0"),
        ([[_box(20.5, 4, 30, 30)], [_box(9, 9, 12, 12)]], [20.5, 4, 30, 30], "1 boxes have fract"),
        ([[_box(0, 4, 0, 9)]], [0, 4, 1, 9], "1 boxes begin at 0"),
        ([[_box(1, 1, 64, 48)], [_box(20, 20, 30, 30)]], [0, 0, 64, 48], ""),
        ([[_box(1, 1, 64, 48)], [_box(1.5, 20, 30, 30)]], [0, 0, 64, 48], ""),
        ([[_box(1, 4, 9, 9)], [_box(1, 5, 9, 9)], [_box(0, 5, 9, 9)]], [0, 3, 9, 9], ""),
        ([[_box(5, 5, 5, 9)]], [4, 4, 5, 9], ""),
        ([[_box("5.0", "5.0", "9.0", "9.0")]], [4, 4, 9, 9], ""),
        ([[_box(20.5, 4, 30, 30), *[_box(n, 9, n + 9, 12) for n in range(2, 40)]]], [19.5, 3], ""),
    ],
)
def test_where_pixels_are_counted_from(
    tmp_path: Path, images: list[list[str]], first: list[float], why: str
) -> None:
    found = _set(tmp_path, *images)
    assert found.problems == ()
    assert found.items[0].boxes_xyxy[0].tolist()[: len(first)] == first
    told = [note for note in found.notes if "count pixels from 0" in note]
    assert bool(told) == bool(why)
    assert why in "".join(told)


def test_a_set_counts_alike_in_all_of_its_splits(tmp_path: Path) -> None:
    for number, (folder, box) in enumerate((("train", (5, 5, 9, 9)), ("test", (0, 5, 9, 9)))):
        _write(tmp_path / folder / "a.xml", _box(*box))
        _picture(tmp_path / folder / "a.png", number)
    found = formats.load(tmp_path, options=TRAINING)
    assert [item.boxes_xyxy.tolist() for item in found.items] == [[[5, 5, 9, 9]]]


def test_objects_that_were_taken_back_are_none(tmp_path: Path) -> None:
    deleted = _box(3, 4, 12, 11, extra="<deleted>1</deleted>")
    found = _set(tmp_path, [deleted, _box(3, 4, 9, 9, extra="<deleted>0</deleted>")])
    assert (found.problems, len(found.items[0].labels)) == ((), 1)


def test_it_is_told_where_nothing_is_left_to_learn(tmp_path: Path) -> None:
    found = _set(tmp_path, [_box(3, 4, 12, 11, extra="<difficult>1</difficult>")])
    assert "all 1 objects are marked" in found.notes[0]


@pytest.mark.parametrize(
    ("said", "ignored"),
    [("1", True), (" 1 ", True), ("true", True), ("True", True), ("0", False), ("", False)],
)
def test_difficult_is_read_as_what_it_says(tmp_path: Path, said: str, ignored: bool) -> None:
    found = _set(tmp_path, [_box(3, 4, 12, 11, extra=f"<difficult>{said}</difficult>")])
    assert found.items[0].ignore == (ignored,)


def test_difficult_that_says_neither_is_refused(tmp_path: Path) -> None:
    found = _set(
        tmp_path, [_box(3, 4, 12, 11, extra="<difficult>2</difficult>")], [_box(3, 4, 9, 9)]
    )
    (problem,) = found.problems
    assert "`difficult` is '2': give 0 or 1" in problem.message
    assert [len(item.refused) for item in found.items] == [1, 0]


PT = "<object><name>car</name><polygon>{}</polygon></object>"
LABELME = PT.format(
    "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((5, 6), (20, 6), (9, 30)))
)
ROBOFLOW = PT.format("<x1>5</x1><y1>6</y1><x2>20</x2><y2>6</y2><x3>9</x3><y3>30</y3>")


@pytest.mark.parametrize("outline", [LABELME, ROBOFLOW])
def test_an_outline_without_a_box_gets_one(tmp_path: Path, outline: str) -> None:
    found = _set(tmp_path, [outline, _box(3, 4, 12, 11)])
    assert found.problems == ()
    assert found.items[0].boxes_xyxy.tolist() == [[5, 6, 20, 30], [2, 3, 12, 11]]
    assert any("1 objects have an outline and no box" in note for note in found.notes)


def _turned(angle: float) -> str:
    parts = {"cx": 30, "cy": 24, "w": 20, "h": 10, "angle": angle}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
    return f"<object><name>car</name><robndbox>{inner}</robndbox></object>"


def test_rotated_rectangles_are_refused_or_enclosed(tmp_path: Path) -> None:
    cvat = (
        "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>"
    )
    objects = [_turned(math.pi / 6), _box(3, 4, 12, 11, extra=cvat)]
    found = _set(tmp_path, objects, [_turned(math.pi / 2), _box(3, 4, 12, 11)])
    assert ["rotated by 30 degrees" in one.message for one in found.problems] == [True, True]
    np.testing.assert_allclose(found.items[1].boxes_xyxy, [[25, 14, 35, 34], [2, 3, 12, 11]])
    enclosed = formats.load(tmp_path, options=ReadOptions(enclose_rotated=True))
    assert enclosed.problems == ()
    across, down = 20 * math.cos(math.pi / 6) + 10 / 2, 20 / 2 + 10 * math.cos(math.pi / 6)
    expected = [30 - across / 2, 24 - down / 2, 30 + across / 2, 24 + down / 2]
    np.testing.assert_allclose(enclosed.items[0].boxes_xyxy[0], expected, rtol=1e-6)
    assert "2 rotated rectangles became the upright boxes around them" in enclosed.notes


def test_parts_of_an_object_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    found = _set(tmp_path, [_box(3, 4, 12, 11, extra=part)])
    assert (found.problems, found.items[0].labels) == ((), ("car",))


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_sides_for_corners_are_told_where_no_size_is_stated(tmp_path: Path, size: str) -> None:
    boxes = [(10, 8, 20, 12), (40, 30, 20, 15), (30, 5, 20, 9), (2, 3, 60, 40)]
    doubt = _set(tmp_path, [_box(*box) for box in boxes], size=size).doubt
    assert "look like x, y, width, height" in doubt


def test_slips_in_a_good_set_are_not_taken_for_another_reading(tmp_path: Path) -> None:
    found = _set(
        tmp_path,
        [_box(40, 30, 10, 10)],
        [_box(10, 10, 40, 30)],
        [_box(10, 10, 40, 30), _box(5, 5, 5, 9)],
    )
    assert found.doubt == ""
    assert [one.where for one in found.problems] == ["f0.xml, object 0"]


def test_the_first_cause_is_told_where_most_cannot_be_used(tmp_path: Path) -> None:
    found = _set(tmp_path, ["<object><name>car</name></object>"] * 3)
    assert "3 of its 3 annotations cannot be used: it has neither `bndbox` nor" in found.doubt
