"""Whether a file is wrong as a whole: judged by shares, over sets of many kinds of objects."""

from __future__ import annotations

import numpy as np
import pytest

from curation.formats import doubt
from curation.formats.numbers import number, numbers
from curation.kernel.boxes import cxcywh_to_xyxy, xywh_to_xyxy, xyxy_to_cxcywh, xyxy_to_xywh
from curation.kernel.types import FloatArray

WIDTH, HEIGHT = 640, 480
SIZE = np.array([WIDTH, HEIGHT], np.float32)


def _corners(rng: np.random.Generator, count: int, largest: float = 0.4) -> FloatArray:
    """Boxes [N, 4] x1, y1, x2, y2 px with sides of 4 px up to a share of the image."""
    sides = rng.uniform(4, 4 + largest * (SIZE - 8), (count, 2))
    places = rng.uniform(0, 1, (count, 2)) * (SIZE - sides)
    return np.concatenate([places, places + sides], axis=1).astype(np.float32)


def _is_doubted(as_coco: FloatArray) -> bool:
    sizes = np.tile(SIZE, (len(as_coco), 1))
    return doubt.misread(xywh_to_xyxy(as_coco), as_coco, sizes, 1)


SETS = pytest.mark.parametrize("largest", [0.05, 0.4, 0.9], ids=["small", "middle", "large"])
SEEDS = pytest.mark.parametrize("seed", range(20))


@SEEDS
@SETS
def test_a_good_set_with_some_slips_is_not_doubted(largest: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = _corners(rng, 60, largest)
    good = xyxy_to_xywh(boxes)
    slips = rng.choice(60, 3, replace=False)
    good[slips] = boxes[slips]  # corners
    over = rng.choice(60, 20, replace=False)
    good[over, 2:] += rng.uniform(1, 12, (20, 2))  # sloppy at the border
    good[rng.integers(60)] = (0, 0, 0, 0)
    good[rng.integers(60)] = np.nan
    assert not _is_doubted(good)


@SEEDS
@SETS
def test_a_wrong_set_with_some_odd_entries_is_doubted(largest: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = _corners(rng, 60, largest)
    odd = rng.choice(60, 6, replace=False)
    boxes[odd[:3], 2] = boxes[odd[:3], 0]  # no width
    boxes[odd[3:5]] = boxes[odd[3:5]][:, [2, 3, 0, 1]]  # inverted
    boxes[odd[5]] = np.nan
    assert _is_doubted(boxes)


@SEEDS
def test_a_set_of_which_half_is_wrong_is_doubted(seed: int) -> None:
    boxes = _corners(np.random.default_rng(seed), 80)
    assert _is_doubted(np.concatenate([boxes[:40], xyxy_to_xywh(boxes[40:])]))


@SEEDS
def test_centres_and_corners_are_told_apart(seed: int) -> None:
    shares = _corners(np.random.default_rng(seed), 60) / np.tile(SIZE, 2)
    sizes = np.ones((60, 2), np.float32)
    good = xyxy_to_cxcywh(shares)
    shares[7] = (0.3, 0.3, 0.3, 0.4)
    assert doubt.misread(cxcywh_to_xyxy(shares), shares, sizes, 0.01)
    good[7] = shares[8]
    assert not doubt.misread(cxcywh_to_xyxy(good), good, sizes, 0.01)


@SEEDS
def test_sides_for_corners_are_told_where_no_size_is_known(seed: int) -> None:
    boxes = _corners(np.random.default_rng(seed), 60)
    sides, unknown = xyxy_to_xywh(boxes), np.full((60, 2), np.inf, np.float32)
    assert doubt.misread(sides, xywh_to_xyxy(sides), unknown, 1)
    assert not doubt.misread(boxes, xywh_to_xyxy(boxes), unknown, 1)


@pytest.mark.parametrize("slips", [1, 2])
def test_large_objects_that_leave_a_little_are_no_reason_for_doubt(slips: int) -> None:
    """They fit as corners and as sides, so that nothing speaks for the right reading."""
    good = np.array([[60, 40, 560, 420]] * 8, np.float32)
    good[:slips, 2] = 590
    assert not _is_doubted(good)


def _is_normalised(boxes: FloatArray) -> bool:
    return doubt.normalised(boxes, boxes[:, 2:])


@SEEDS
def test_shares_are_told_from_pixels_with_some_odd_entries(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = xyxy_to_xywh(_corners(rng, 30))
    shares = pixels / np.tile(SIZE, 2)
    assert _is_normalised(shares)
    shares[:2] = pixels[:2]
    shares[2] = np.nan
    shares[3] = 0
    shares[4] = (0, 0, 1.02, 1)
    assert _is_normalised(shares)
    pixels[:2] = shares[10:12]
    pixels[3] = 0
    pixels[4] = (0, 0, 1, 1)
    assert not _is_normalised(pixels)
    assert _is_normalised(np.concatenate([shares[5:15], pixels[5:]]))


@pytest.mark.parametrize(
    ("boxes", "doubted"),
    [
        ([[0.1, 0.1, 0.4, 0.4]], True),
        ([[0, 0, 1, 1]] * 3, True),
        ([[100, 80, 0.2, 0.3]] * 3 + [[1, 1, 9, 9]], True),
        ([[100, 80, 0.2, 0.3]] * 3 + [[1, 1, 9, 9]] * 4, False),
        ([[0, 0, 0, 0]] * 5, False),
        ([[0, 0, 0, 0]] * 5 + [[5, 5, 9, 9]], False),
        ([[5, 5, 1, 9]] * 4, False),
        ([], False),
    ],
)
def test_which_few_boxes_are_taken_for_shares(boxes: list[list[float]], doubted: bool) -> None:
    assert _is_normalised(np.array(boxes, np.float32).reshape(-1, 4)) == doubted


@pytest.mark.parametrize(
    ("known", "used", "said"),
    [
        (range(1, 4), [0, 1, 2, 0, 1], "from 1 and refers to them as if from 0"),
        (range(1, 4), [0, 0, 1, 2, 77, "9", None], "from 1 and refers to them as if from 0"),
        (range(3), [1, 2, 3, 3], "from 0 and refers to them as if from 1"),
        (range(3), [1, 2, 3, 3, 0], "from 0 and refers to them as if from 1"),
        (range(1, 4), [1, 2, 3], ""),
        (range(1, 4), [0, 1, 2, 3], ""),
        (range(1, 4), [0, 1, 2, 3, 3], ""),
        (range(1, 4), [4, 1, 2], ""),
        (range(1, 4), [0, *[1, 2] * 20], ""),
        (range(1, 4), [0, 0, *[1, 2] * 20], "as if from 0"),
        ((1, 5, 9), [0, 5, 9], ""),
        ((7, 8, 9), [6, 7, 8], ""),
        ((), [1], ""),
    ],
)
def test_ids_that_count_from_elsewhere(known: object, used: list[object], said: str) -> None:
    found = doubt.misnumbered("classes", list(known), used, fewest=2)
    assert said in found
    assert bool(said) == bool(found)


def test_one_reference_is_enough_where_none_can_be_a_slip() -> None:
    used = [0, *range(1, 50)]
    assert "as if from 0" in doubt.misnumbered("images", range(1, 51), used)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (3, 3.0),
        ("10", 10.0),
        (" 1e1 ", 10.0),
        ("-.5", -0.5),
        ("1_0", None),
        ("", None),
        ("ten", None),
        (True, None),
        (None, None),
        (10**400, None),
        ([1], None),
    ],
)
def test_what_is_a_number(said: object, meant: float | None) -> None:
    assert number(said) == meant


def test_numbers_are_exactly_so_many() -> None:
    assert numbers(["1", 2, 3.5, "4"], 4) == [1, 2, 3.5, 4]
    assert numbers([1, 2, 3], 4) is None
    assert numbers([1, 2, 3, None], 4) is None
    assert numbers("1234", 4) is None


def test_text_is_judged_like_numbers() -> None:
    boxes, sizes = doubt.as_boxes([["1", "2", 3, 4], [1, 2, 3], None], [(9, 9), (8, 8), (7, 7)])
    assert boxes.tolist() == [[1, 2, 3, 4]]
    assert sizes.tolist() == [[9, 9]]
