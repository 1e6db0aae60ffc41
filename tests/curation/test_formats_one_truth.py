"""Several entries of one picture: joined where the format means it, else none is believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from curation.formats import ImportedImage, Problem
from curation.formats.one_truth import one_truth
from tests import bad_images


def _entry(
    path: Path, labels: Sequence[str], said_in: str = "", left: float = 0, refused: bool = False
) -> ImportedImage:
    boxes = np.array([[left + n, 1, left + n + 9, 9] for n in range(len(labels))], np.float32)
    problems = (Problem("x", "left out"),) if refused else ()
    return ImportedImage(
        path,
        64,
        48,
        boxes.reshape(-1, 4),
        tuple(labels),
        (False,) * len(labels),
        refused=problems,
        annotated_in=said_in,
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(bad_images.png())
    return path


def test_a_file_a_class_is_joined(picture: Path) -> None:
    found = one_truth(
        [_entry(picture, ["car", "car"], "cars.json"), _entry(picture, ["bus"], "buses.json", 20)]
    )

    ((place, item),) = found.items
    assert (place, item.labels, found.joined) == (0, ("car", "car", "bus"), (1,))
    assert item.boxes_xyxy[:, 0].tolist() == [0, 1, 20]
    assert found.problems == {}


def test_an_empty_entry_of_a_file_a_class_says_that_none_of_that_class_is_there(
    picture: Path, tmp_path: Path
) -> None:
    other = tmp_path / "b.png"
    other.write_bytes(bad_images.png(2))
    found = one_truth(
        [
            _entry(picture, ["car"], "cars.json"),
            _entry(picture, [], "buses.json"),
            _entry(other, ["bus"], "buses.json"),
        ]
    )

    assert [item.labels for _, item in found.items] == [("car",), ("bus",)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("", ["car"]), ("", ["bus"])),  # two entries of one file
        (("v1.json", ["car"]), ("v2.json", ["car"])),  # two versions of one truth
        (("v1.json", ["car"]), ("v2.json", ["car", "bus"])),
    ],
)
def test_of_two_truths_neither_wins(
    picture: Path, first: tuple[str, list[str]], second: tuple[str, list[str]]
) -> None:
    entries = [_entry(picture, first[1], first[0]), _entry(picture, second[1], second[0], 30)]

    found = one_truth(entries)

    assert found.items == ()
    assert sorted(found.problems) == [0, 1]
    assert all("says otherwise" in one.message for one in found.problems.values())
    assert {one.loses for one in found.problems.values()} == {"image"}


def test_copies_under_other_names_are_one_picture(picture: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "b.png", tmp_path / "c.png"
    copy.write_bytes(picture.read_bytes())
    other.write_bytes(bad_images.png(3))

    same = one_truth([_entry(picture, ["car"]), _entry(copy, ["car"]), _entry(other, ["car"])])
    apart = one_truth([_entry(picture, ["car"]), _entry(copy, ["bus"]), _entry(other, ["car"])])

    assert ([place for place, _ in same.items], same.repeated) == ([0, 2], (1,))
    assert [place for place, _ in apart.items] == [2]
    assert "'b.png' is the same picture" in apart.problems[0].message


def test_a_refused_object_is_no_less_refused_for_being_joined(picture: Path) -> None:
    found = one_truth(
        [
            _entry(picture, ["car"], "cars.json"),
            _entry(picture, ["bus"], "buses.json", refused=True),
        ]
    )

    assert len(found.items[0][1].refused) == 1


def test_a_file_that_cannot_be_read_is_like_no_other(tmp_path: Path) -> None:
    found = one_truth([_entry(tmp_path / "x.png", ["car"]), _entry(tmp_path / "y.png", ["bus"])])

    assert len(found.items) == 2
