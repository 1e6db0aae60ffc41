"""AP on resampled images agrees with COCO's evaluation of the same images."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.loop.average_precision import ap50, matched
from curation.kernel.manifest import Manifest, ManifestItem
from curation.kernel.types import Detections, Truth
from retrain.evaluate import score_detections

NAMES = ("background", "a", "b")
SIZE = 100


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 40, (count, 2))], 1).astype(np.float32)


def image(rng: np.random.Generator) -> tuple[Truth, Detections]:
    """Objects, some ignored, and detections near them, beside them and of the wrong class."""
    count = int(rng.integers(0, 6))
    objects = boxes(rng, count)
    labels = rng.integers(1, 3, count)
    truth = Truth(objects, labels, rng.random(count) < 0.25)
    near = np.repeat(objects, 3, 0) + rng.normal(0, 3, (3 * count, 4)).astype(np.float32)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    found = np.concatenate([near, boxes(rng, 4)])
    wrong = rng.random(len(found)) < 0.2
    named = np.concatenate([np.repeat(labels, 3), rng.integers(1, 3, 4)])
    named = np.where(wrong, 3 - named, named)
    right = (np.arange(len(found)) < 3 * count) & ~wrong
    scores = (0.6 * rng.random(len(found)) + 0.4 * right).astype(np.float32)
    order = np.argsort(-scores)
    return truth, Detections(found[order], scores[order], named[order], np.arange(len(found)))


def coco(images: list[tuple[Truth, Detections]]) -> dict[str, float | None]:
    items = tuple(
        ManifestItem(
            image=f"{row:064x}",
            file=f"{row}.png",
            width_px=SIZE,
            height_px=SIZE,
            boxes_xyxy=tuple(tuple(map(float, box)) for box in truth.boxes_xyxy),
            labels=tuple(NAMES[label] for label in truth.labels),
            ignore=tuple(map(bool, truth.ignore)),
        )
        for row, (truth, _) in enumerate(images)
    )
    report = score_detections([d for _, d in images], Manifest(NAMES, items), NAMES, "0" * 64)
    return {name: entry.ap50 for name, entry in report.per_class.items()}


@pytest.mark.parametrize("seed", range(5))
def test_as_coco_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [image(rng) for _ in range(30)]
    drawn = rng.integers(0, len(images), len(images))
    wanted = coco([images[row] for row in drawn])
    for label in (1, 2):
        table = [matched(found, truth, label) for truth, found in images]
        value = ap50([table[row] for row in drawn])
        assert value is not None
        assert 0.1 < value < 0.95
        assert value == pytest.approx(wanted[NAMES[label]], abs=1e-6)


def test_without_objects_there_is_no_figure() -> None:
    rng = np.random.default_rng(0)
    _, found = image(rng)
    assert ap50([matched(found, Truth.empty(), 1)]) is None
    assert ap50([]) is None
