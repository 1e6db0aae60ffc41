"""Fog that the field shares and that hurts nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.demo.street import Split, WorldConfig, generate

CLEAR = WorldConfig(size_wh=(128, 96))
FOGGY = replace(CLEAR, fog_share=0.25, field_fog_share=1.0)


def share(split: Split, count: int) -> float:
    return float(np.mean([scene.tags["fog"] for scene in generate(FOGGY, split, count, 3)]))


def test_all_of_the_field_lies_in_fog_and_some_of_the_others() -> None:
    assert share("field", 20) == 1.0
    for split in ("seed", "pool", "siblings", "holdout"):
        assert 0.05 < share(split, 60) < 0.5


def test_fog_changes_neither_objects_nor_causes() -> None:
    pairs = zip(generate(CLEAR, "field", 20, 3), generate(FOGGY, "field", 20, 3), strict=True)
    for clear, foggy in pairs:
        np.testing.assert_array_equal(clear.truth.boxes_xyxy, foggy.truth.boxes_xyxy)
        np.testing.assert_array_equal(clear.cause_masks, foggy.cause_masks)
        assert clear.causes == foggy.causes
        # A veil: what was dark is lighter, and contrast is less.
        assert foggy.image.std() < clear.image.std()
        assert np.percentile(foggy.image, 5) > np.percentile(clear.image, 5)


def test_without_fog_scenes_are_those_of_before() -> None:
    assert not any(scene.tags["fog"] for scene in generate(CLEAR, "pool", 20, 3))
