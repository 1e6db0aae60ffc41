"""The street world: deterministic, planted as configured, honest boxes and masks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from curation.kernel.boxes import pairwise_containment
from services.demo.street import (
    CAUSE_CLASS,
    CAUSES,
    CLASS_NAMES,
    SPLITS,
    Scene,
    Split,
    WorldConfig,
    draw_scene,
    generate,
)
from services.demo.street.config import BICYCLE, BUS, CAR, CAR_ON_BILLBOARD

PLANTED = WorldConfig(field_share=1.0)


@lru_cache
def _scenes(split: Split, count: int, planted: bool = False) -> tuple[Scene, ...]:
    return tuple(generate(PLANTED if planted else WorldConfig(), split, count, seed=3))


def test_a_scene_depends_on_seed_split_and_index_only() -> None:
    few = list(generate(WorldConfig(), "field", 2, seed=3))
    for first, second in zip(few, _scenes("field", 60), strict=False):
        assert first.name == second.name
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.truth.boxes_xyxy, second.truth.boxes_xyxy)
    other = next(generate(WorldConfig(), "field", 1, seed=4))
    sibling = next(generate(WorldConfig(), "siblings", 1, seed=3))
    assert not np.array_equal(other.image, few[0].image)
    assert not np.array_equal(sibling.image, few[0].image)


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_are_valid_and_inside_the_image(split: Split) -> None:
    for scene in _scenes(split, 60):
        height, width = scene.image.shape[:2]
        assert (width, height) == (256, 192)
        boxes = scene.truth.boxes_xyxy
        assert len(scene.attributes) == len(scene.causes) == len(scene.cause_masks) == len(boxes)
        assert (boxes[:, 0] >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 1] >= 0).all()
        assert (boxes[:, 3] <= height).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 8).all()
        assert set(scene.truth.labels.tolist()) <= set(range(1, len(CLASS_NAMES)))


@pytest.mark.parametrize("split", ["seed", "holdout"])
def test_seed_and_holdout_hold_no_cause(split: Split) -> None:
    assert all(scene.planted == () for scene in _scenes(split, 60))


def test_every_class_and_several_objects_occur() -> None:
    scenes = _scenes("seed", 60)
    labels = Counter(int(label) for scene in scenes for label in scene.truth.labels)
    assert set(labels) == set(range(1, len(CLASS_NAMES)))
    assert min(labels.values()) >= 8
    assert 1.5 < np.mean([len(scene.truth) for scene in scenes]) < 4


def test_the_pool_holds_each_cause_in_the_configured_share() -> None:
    config = WorldConfig(size_wh=(96, 96), pool_share=0.1)
    planted = Counter(cause for s in generate(config, "pool", 300, seed=0) for cause in s.planted)
    assert set(planted) == set(CAUSES)
    for count in planted.values():  # 30 expected, deviation 5.2; small scenes drop a few objects
        assert 10 <= count <= 48


def test_half_of_field_and_siblings_hold_a_cause() -> None:
    for split in ("field", "siblings"):
        planted = sum(bool(scene.planted) for scene in _scenes(split, 60))
        assert 18 <= planted <= 42


def test_a_cause_belongs_to_its_class_and_its_mask_touches_the_object() -> None:
    seen = set()
    for scene in _scenes("field", 60, planted=True):
        for row, cause in enumerate(scene.causes):
            mask = scene.cause_masks[row]
            if cause is None:
                assert not mask.any()
                continue
            seen.add(cause)
            assert int(scene.truth.labels[row]) == CAUSE_CLASS[cause]
            x1, y1, x2, y2 = scene.truth.boxes_xyxy[row].astype(int)
            assert mask[y1:y2, x1:x2].mean() > 0.15, (scene.name, cause)
    assert seen == set(CAUSES) - {CAR_ON_BILLBOARD}


def test_behind_the_car_stands_a_labelled_bus() -> None:
    planted = 0
    for scene in _scenes("field", 60, planted=True):
        for row, cause in enumerate(scene.causes):
            if cause != "bus_behind_car":
                continue
            planted += 1
            buses = scene.truth.boxes_xyxy[scene.truth.labels == BUS]
            inside = pairwise_containment(scene.truth.boxes_xyxy[row : row + 1], buses)
            assert inside.max() > 0.5
    assert planted >= 5


def test_a_shadow_is_darker_than_its_surroundings() -> None:
    checked = 0
    for scene in _scenes("field", 60, planted=True):
        for row in np.flatnonzero(scene.truth.labels == BICYCLE):
            mask = scene.cause_masks[row]
            if mask.any():
                checked += 1
                assert scene.image[mask].mean() < 0.8 * scene.image[~mask].mean()
    assert checked >= 5


def test_a_lookalike_has_a_box_and_a_mask_but_no_annotation() -> None:
    boards = [entry for s in _scenes("field", 60, planted=True) for entry in s.lookalikes]
    assert len(boards) >= 5
    for scene in _scenes("field", 60, planted=True):
        for entry in scene.lookalikes:
            assert entry.label == CAR
            x1, y1, x2, y2 = (int(value) for value in entry.box_xyxy)
            assert entry.mask[y1:y2, x1:x2].mean() > 0.5
            box = np.asarray([entry.box_xyxy], np.float32)
            cars = scene.truth.boxes_xyxy[scene.truth.labels == CAR]
            if len(cars):
                assert pairwise_containment(cars, box).max() < 0.5


def test_sizes_and_causes_are_configurable() -> None:
    config = replace(PLANTED, size_wh=(320, 200), causes=("pedestrian_on_brick",))
    scenes = list(generate(config, "siblings", 6, seed=1))
    assert all(scene.image.shape == (200, 320, 3) for scene in scenes)
    assert {cause for scene in scenes for cause in scene.planted} == {"pedestrian_on_brick"}
    plain = replace(PLANTED, causes=())
    assert not any(scene.planted for scene in generate(plain, "field", 4, seed=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_wh": (40, 200)},
        {"pool_share": 0.3},
        {"field_share": 1.5},
        {"max_objects": 0},
        {"causes": ("rain",)},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        WorldConfig(**wrong)  # type: ignore[arg-type]


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown, choose from"):
        next(generate(WorldConfig(), "test", 1, seed=0))  # type: ignore[arg-type]


def test_a_scene_drawn_alone_is_that_of_its_split() -> None:
    *_, last = generate(WorldConfig(), "pool", 4, 7)
    alone = draw_scene(WorldConfig(), "pool", 3, 7)
    assert alone.name == last.name
    assert (alone.image == last.image).all()
    assert (alone.truth.boxes_xyxy == last.truth.boxes_xyxy).all()
