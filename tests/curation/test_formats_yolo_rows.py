"""What a row of YOLO may be: judged by all rows of a source, refused where it cannot be known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from curation import formats
from curation.formats import Imported, ReadOptions
from curation.formats.yolo_rows import Reading, Rows
from tests import bad_images

WIDTH, HEIGHT = bad_images.WIDTH, bad_images.HEIGHT
ENCLOSE = ReadOptions(enclose_rotated=True)


def _load(
    folder: Path,
    *files: Sequence[str],
    options: ReadOptions = ReadOptions(),
    yaml: str = "names: [car, bus, van]\n",
) -> Imported:
    """A set with a picture for each list of rows."""
    for name in ("images", "labels"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(yaml)
    for number, rows in enumerate(files):
        (folder / "images" / f"{number}.png").write_bytes(bad_images.png(number))
        (folder / "labels" / f"{number}.txt").write_text("\n".join(rows))
    return formats.load(folder, options=options)


def _boxes(found: Imported) -> list[list[float]]:
    return np.concatenate([item.boxes_xyxy for item in found.items]).round(3).tolist()


BOX = "0 0.5 0.5 0.25 0.5"
BOX_PX = [24, 12, 40, 36]


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ([BOX + " 0.91", BOX.replace("0 ", "1 ", 1) + " 0.37"], "taken for a confidence"),
        ([BOX + " 1", BOX.replace("0 ", "1 ", 1) + " 1"], "taken for a confidence"),
        ([BOX, BOX.replace("0 ", "1 ", 1) + " 0.7854"], "taken for a confidence"),
        ([BOX + " 17", BOX.replace("0 ", "1 ", 1) + " 412"], "the number of a track"),
        ([BOX + " 0.91 17", BOX.replace("0 ", "1 ", 1) + " 0.37 1"], ""),
    ],
)
def test_more_numbers_of_detectors_are_no_part_of_the_box(
    tmp_path: Path, rows: list[str], note: str
) -> None:
    found = _load(tmp_path, rows)

    assert found.doubt == ""
    assert found.problems == ()
    assert _boxes(found) == [BOX_PX, BOX_PX]
    assert note in " ".join(found.notes)


ANGLES = {
    "radians of whole degrees": (["0.7854", "0.7854"], math.pi / 4),
    "radians": (["0.6", "-0.6"], 0.6),
    "a number that is always the same": (["0.6", "0.6"], 0.6),
    "more than a quarter turn": (["2.1", "0.9"], None),
    "degrees": (["37.5", "37.5"], math.radians(37.5)),
    "whole degrees": (["45", "45"], math.pi / 4),
    "below zero": (["-45", "-45"], math.pi / 4),
}


@pytest.mark.parametrize("name", ANGLES)
def test_a_rotated_rectangle_is_refused_or_enclosed(tmp_path: Path, name: str) -> None:
    texts, angle = ANGLES[name]
    rows = [f"{number} 0.5 0.5 0.25 0.5 {text}" for number, text in enumerate(texts)]

    refused = _load(tmp_path, rows)
    found = _load(tmp_path, rows, options=ENCLOSE)

    assert "2 of its 2 annotations cannot be used: 0.txt, line 1: the sixth number" in refused.doubt
    assert "`--enclose-rotated`" in refused.doubt
    assert found.doubt == ""
    assert "2 rotated rectangles became the upright boxes around them" in found.notes
    if angle is not None:
        corners = np.array([[-8, -12], [8, -12], [8, 12], [-8, 12]])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        reach = np.abs(corners @ turn.T).max(axis=0)
        centre = np.array([32, 24])
        expected = np.concatenate([centre - reach, centre + reach])
        np.testing.assert_allclose(_boxes(found)[0], expected, atol=0.02)


def test_a_rectangle_that_is_turned_by_quarters_is_upright(tmp_path: Path) -> None:
    rows = ["0 0.5 0.5 0.5 0.25 1.5708", "1 0.5 0.5 0.5 0.25 3.1416", "2 0.5 0.5 0.5 0.25 0"]

    found = _load(tmp_path, rows)

    assert found.problems == ()
    assert _boxes(found) == [[26, 8, 38, 40], [16, 18, 48, 30], [16, 18, 48, 30]]
    assert "taken for an angle in radians" in " ".join(found.notes)


def test_who_says_that_rectangles_are_rotated_gets_small_angles_read(tmp_path: Path) -> None:
    rows = [BOX + " 0.61", BOX.replace("0 ", "1 ", 1) + " 0.17"]

    found = _load(tmp_path, rows, options=ENCLOSE)

    assert "2 rotated rectangles became the upright boxes around them" in found.notes
    assert "2 rows have a sixth number: taken for an angle in radians" in found.notes


def test_small_whole_numbers_may_be_tracks_or_degrees(tmp_path: Path) -> None:
    found = _load(tmp_path, [BOX + " 1", BOX + " 2"], [BOX + " 30"])

    assert "the sixth number may be a track or an angle" in found.doubt


def _outline(points: Sequence[tuple[float, float]], number: int = 0) -> str:
    return f"{number} " + " ".join(f"{x} {y}" for x, y in points)


UPRIGHT = [(0.25, 0.25), (0.5, 0.25), (0.5, 0.75), (0.25, 0.75)]
SLANTING = [(0.25, 0.5), (0.5, 0.25), (0.75, 0.5), (0.5, 0.75)]
TRIANGLE = [(0.25, 0.25), (0.5, 0.25), (0.4, 0.75)]


def test_outlines_become_the_boxes_around_them(tmp_path: Path) -> None:
    five = [*SLANTING, (0.3, 0.6)]
    rows = [_outline(TRIANGLE), _outline(five), _outline(SLANTING, 1), BOX]

    found = _load(tmp_path, rows)

    assert found.problems == ()
    assert _boxes(found) == [[16, 12, 32, 36], [16, 12, 48, 36], [16, 12, 48, 36], BOX_PX]
    assert "3 objects have an outline and no box: the box around it was taken" in found.notes


def test_upright_corners_are_boxes(tmp_path: Path) -> None:
    turned = [*UPRIGHT[2:], *UPRIGHT[:2]]

    found = _load(tmp_path, [_outline(UPRIGHT), _outline(turned, 1), BOX])

    assert found.problems == ()
    assert _boxes(found) == [[16, 12, 32, 36], [16, 12, 32, 36], BOX_PX]


def test_four_slanting_corners_in_all_rows_are_rotated_rectangles(tmp_path: Path) -> None:
    rows = [_outline(SLANTING), _outline(UPRIGHT, 1), BOX]

    found = _load(tmp_path, rows)
    enclosed = _load(tmp_path, rows, options=ENCLOSE)

    assert [one.where for one in found.problems] == ["0.txt, line 1"]
    assert "four corners of a slanting rectangle" in found.problems[0].message
    assert _boxes(enclosed)[0] == [16, 12, 48, 36]
    assert "1 rotated rectangles became the upright boxes around them" in enclosed.notes


def _pose(cx: float, cy: float, values: int) -> str:
    """A small box with two or more points in it, each with 2 or 3 values."""
    points = [f"{cx + 0.01 * n} {cy - 0.01 * n}" + " 2" * (values == 3) for n in range(4)]
    return f"0 {cx} {cy} 0.1 0.1 " + " ".join(points)


CENTRES = [(0.3, 0.4), (0.6, 0.7), (0.8, 0.3), (0.5, 0.5)]


@pytest.mark.parametrize("values", [2, 3])
def test_key_points_are_left_out_where_the_set_says_that_there_are_some(
    tmp_path: Path, values: int
) -> None:
    rows = [_pose(x, y, values) for x, y in CENTRES]
    yaml = f"kpt_shape: [4, {values}]\nnames: [person]\n"

    found = _load(tmp_path, [*rows, "0 0.5 0.5 0.2 0.2"], yaml=yaml)

    assert found.doubt == ""
    assert found.problems == ()
    assert "4 rows have key points: only their boxes were taken" in found.notes
    np.testing.assert_allclose(_boxes(found)[0], [16, 16.8, 22.4, 21.6], atol=0.01)


@pytest.mark.parametrize("values", [2, 3])
def test_key_points_of_which_nobody_said_so_are_no_outlines(tmp_path: Path, values: int) -> None:
    found = _load(tmp_path, [_pose(x, y, values) for x, y in CENTRES])

    assert "look like boxes with key points: say so with `kpt_shape`" in found.doubt


def test_outlines_with_as_many_points_are_no_key_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = []
    for x, y in rng.uniform(0.2, 0.8, (40, 2)):
        angles = np.sort(rng.uniform(0, 2 * math.pi, 8))
        radius = rng.uniform(0.02, 0.2)
        ring = zip(x + radius * np.cos(angles), y + radius * np.sin(angles), strict=True)
        rows.append(_outline([(float(a), float(b)) for a, b in ring]))

    found = _load(tmp_path, rows)

    assert found.doubt == ""
    assert found.problems == ()
    assert "40 objects have an outline" in " ".join(found.notes)


def _shares(boxes: Sequence[Sequence[float]], as_written: str) -> list[str]:
    """Rows for boxes x1, y1, x2, y2 in shares, written as this."""
    rows = []
    for x1, y1, x2, y2 in boxes:
        written = {
            "centre": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
            "corners": (x1, y1, x2, y2),
            "top left": (x1, y1, x2 - x1, y2 - y1),
            "pixels": (32 * (x1 + x2), 24 * (y1 + y2), 64 * (x2 - x1), 48 * (y2 - y1)),
        }[as_written]
        rows.append("0 " + " ".join(f"{value:.5f}" for value in written))
    return rows


@pytest.mark.parametrize(
    ("as_written", "said"),
    [
        ("centre", ""),
        ("corners", "its boxes look like x1, y1, x2, y2"),
        ("top left", "its boxes look like left, top, width, height"),
        ("pixels", "its coordinates look like pixels"),
    ],
)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("odd", [[], ["0 0.5 0.5 0 0.2", "0 0.99 0.5 0.2 0.2"]])
def test_boxes_in_another_form_are_doubted_in_spite_of_odd_rows(
    tmp_path: Path, as_written: str, said: str, seed: int, odd: list[str]
) -> None:
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0.05, 0.5, (40, 2))
    starts = rng.uniform(0, 1, (40, 2)) * (1 - sides)
    boxes = np.concatenate([starts, starts + sides], axis=1).tolist()

    found = _load(tmp_path, [*_shares(boxes, as_written), *odd])

    assert said in found.doubt
    assert bool(said) == bool(found.doubt)


def test_the_cause_is_told_where_most_rows_cannot_be_used(tmp_path: Path) -> None:
    found = _load(tmp_path, ["0 0.5 0.5 0.1", "0 0.4 0.4 0.1"], [BOX, "car 0.1 0.1 0.1 0.1"])

    assert found.doubt == (
        "3 of its 4 annotations cannot be used: 0.txt, line 1: expected `class cx cy width "
        "height`, found 4 numbers"
    )


def test_classes_that_count_from_one(tmp_path: Path) -> None:
    rows = [f"{1 + n % 3} 0.5 {0.3 + n / 20} 0.1 0.1" for n in range(8)]

    assert "lists classes from 0 and refers to them as if from 1" in _load(tmp_path, rows).doubt


def test_rows_are_read_as_they_stand() -> None:
    rows = Rows.of("\ufeff0 1 2 3 4\n\n# no\n1\t.5 5e-1 +0.5 5.E-1  \nx 1 2 3 4\n0 1 2 3 ４\n")

    assert [(row.line, row.number, tuple(row.values)) for row in rows.good] == [
        (1, 0, (1, 2, 3, 4)),
        (4, 1, (0.5, 0.5, 0.5, 0.5)),
    ]
    assert [line for line, _ in rows.wrong] == [5, 6]
    assert (rows.count, rows.comments) == (4, 1)
    assert Reading.of([rows.good]) == Reading()
