"""Overlap and conversions: properties, and agreement with plain loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from curation.kernel import boxes
from curation.kernel.errors import InvalidBoxes
from tests import strategies
from tests.oracles.boxes import contained
from tests.oracles.matching import iou


@given(strategies.box_arrays(), strategies.box_arrays())
def test_overlap_is_symmetric_within_bounds_and_agrees_with_plain_loops(first, second) -> None:
    overlap = boxes.pairwise_iou(first, second)

    assert overlap.shape == (len(first), len(second))
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_array_equal(overlap, boxes.pairwise_iou(second, first).T)
    expected = np.array([[iou(a, b) for b in second] for a in first]).reshape(overlap.shape)
    np.testing.assert_allclose(overlap, expected, atol=1e-6)


@given(strategies.box_arrays())
def test_a_box_overlaps_itself_wholly(drawn) -> None:
    np.testing.assert_allclose(np.diag(boxes.pairwise_iou(drawn, drawn)), 1, atol=1e-6)


@given(strategies.box_arrays(), strategies.box_arrays())
def test_containment_agrees_with_plain_loops(inner, outer) -> None:
    share = boxes.pairwise_containment(inner, outer)

    expected = np.array([[contained(a, b) for b in outer] for a in inner]).reshape(share.shape)
    np.testing.assert_allclose(share, expected, atol=1e-6)


@given(strategies.box_arrays())
def test_each_conversion_is_undone_by_its_inverse(drawn) -> None:
    np.testing.assert_array_equal(boxes.xywh_to_xyxy(boxes.xyxy_to_xywh(drawn)), drawn)
    np.testing.assert_array_equal(boxes.cxcywh_to_xyxy(boxes.xyxy_to_cxcywh(drawn)), drawn)


@given(strategies.box_arrays())
def test_a_box_within_the_image_passes_unchanged(drawn) -> None:
    passed = boxes.require_valid_boxes(drawn, strategies.WIDTH, strategies.HEIGHT, "here")

    np.testing.assert_array_equal(passed, drawn)


def test_a_pixel_outside_is_cut_silently() -> None:
    cut = boxes.require_valid_boxes(np.array([[-1, -0.5, 21, 10.5]], np.float32), 20, 10, "here")

    assert cut.tolist() == [[0, 0, 20, 10]]


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ([5, 5, 4, 9], "inverted"),
        ([5, 5, 5, 9], "empty"),
        ([-3, 0, 4, 4], "leaves the 20x10 image"),
        ([0, 0, 4, 12], "leaves the 20x10 image"),
        ([np.nan, 0, 4, 4], "not finite"),
        ([0, 0, np.inf, 4], "not finite"),
    ],
)
def test_a_bad_box_is_named(box: list[float], why: str) -> None:
    drawn = np.array([[0, 0, 4, 4], box], np.float32)

    with pytest.raises(InvalidBoxes, match=rf"frame\.png: box 1 .*{why}"):
        boxes.require_valid_boxes(drawn, 20, 10, "frame.png")
