"""Worlds of real images, CARLA's towns and BCCD's blood cells; boxes tell the causes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from skimage.color import rgb2hsv

from benchmarks.detectors import MIN_SIDE_PX
from benchmarks.loop.worlds import Sample, World
from curation import formats
from curation.kernel.boxes import pairwise_iou
from curation.kernel.images import content_hash, load
from curation.kernel.types import BoolArray, ImageArray, Truth
from retrain.config import DetectorConfig

CARLA_NAMES = ("background", "vehicle", "bike", "motobike", "traffic_light", "traffic_sign")
BCCD_NAMES = ("background", "RBC", "WBC", "Platelets")
BLOCK = 10
"""Consecutive frames, three seconds of the drive apart, that stay together."""
SHARES = {"field": 0.12, "siblings": 0.2, "holdout": 0.12}
"""Of a town's blocks; the rest is the pool, twenty times what 100 boxes buy."""
SOUGHT_SHARE = 0.2
"""Of the pool: what is rarer than a tenth has too few siblings here to be measured."""
OVERLAP = 0.2
DENSE_CELLS = 15
STRONG_SATURATION = 0.1
"""Median saturation of a strongly stained picture: the upper tenth of BCCD's."""
CROWDED, STAINED = "RBC in a crowd", "WBC in strong stain"
CELL_CAUSES = {CROWDED: 1, STAINED: 2}


def carla(data: Path, seed: int) -> World:
    """Trains on town01 and town02; field, pool and holdouts are blocks of town03 to town05.

    What boxes can tell: a class in a town that the detector does not know, and a class of which a
    fifth is covered by the box of another object. The seed deals out the blocks; all seeds share
    the frames and what is trained on.
    """
    data = data.resolve()  # annotations name their images by whole paths
    root = data / "carla" / "images"
    towns = {n: _samples(data / f"carla/town0{n}.json", root, CARLA_NAMES) for n in range(1, 6)}
    sides: dict[str, list[Sample]] = {"field": [], "pool": [], "siblings": [], "holdout": []}
    causes: dict[str, int] = {}
    groups: dict[str, str] = {}
    for town in (3, 4, 5):
        dealt = _dealt(-(-len(towns[town]) // BLOCK), np.random.default_rng([seed, town]))
        for row, sample in enumerate(towns[town]):
            tagged = _in_town(sample, town)
            side = dealt[row // BLOCK]
            sides[side].append(tagged)
            groups[sample.name] = f"{town}-{row // BLOCK}"
            if side == "field":
                causes |= {cause: CARLA_NAMES.index(cause.split()[0]) for cause in tagged.planted}
    return World(
        "carla",
        seed,
        root,
        CARLA_NAMES,
        DetectorConfig("ssdlite_efficientnet_lite0", CARLA_NAMES, (256, 432), 0.04, 0.8),
        dict(sorted(causes.items())),
        tuple(towns[1] + towns[2]),
        tuple(sides["field"]),
        tuple(sides["pool"]),
        tuple(sides["siblings"]),
        tuple(sides["holdout"]),
        groups,
        SOUGHT_SHARE,
    )


def bccd(data: Path, seed: int) -> World:
    """Blood cells; crowded and strongly stained pictures are withheld from the training set.

    The data set is small: its pool is a few times the budget, not twenty times.
    """
    data = data.resolve()
    root = data / "bccd" / "images"
    samples = [
        _of_cells(sample, load(root / sample.file))
        for part in ("trainval", "test")
        for sample in _samples(data / f"bccd/{part}.json", root, BCCD_NAMES)
    ]
    order = np.random.default_rng(seed).permutation(len(samples))
    special = [samples[row] for row in order if samples[row].planted]
    plain = [samples[row] for row in order if not samples[row].planted]
    first, second = (int(len(special) * share) for share in (0.38, 0.55))
    return World(
        "bccd",
        seed,
        root,
        BCCD_NAMES,
        DetectorConfig("ssdlite_efficientnet_lite0", BCCD_NAMES, (240, 320), 0.06, 0.8),
        CELL_CAUSES,
        tuple(plain[:100]),
        tuple(special[:first] + plain[100:120]),
        tuple(special[first:second] + plain[160:]),
        tuple(special[second:]),
        tuple(plain[120:160]),
    )


def _dealt(blocks: int, rng: np.random.Generator) -> list[str]:
    """The side of each block of a town; one at least on every side."""
    sides = ["pool"] * blocks
    order = iter(rng.permutation(blocks))
    for side, share in SHARES.items():
        for _ in range(max(1, round(share * blocks))):
            sides[next(order)] = side
    return sides


def _samples(annotations: Path, root: Path, names: tuple[str, ...]) -> list[Sample]:
    """By file name, frames of one drive in order; no cause is known yet."""
    imported = formats.load(annotations, min_side_px=MIN_SIDE_PX)
    samples = []
    for entry in sorted(imported.items, key=lambda item: item.path):
        boxes = np.array(entry.boxes_xyxy, np.float32).reshape(-1, 4)
        labels = np.array([names.index(label) for label in entry.labels], np.int64)
        samples.append(
            Sample(
                entry.path.stem,
                str(entry.path.relative_to(root)),
                content_hash(entry.path.read_bytes()),
                (entry.width_px, entry.height_px),
                Truth(boxes, labels, np.array(entry.ignore, np.bool_)),
                (None,) * len(labels),
                frozenset(),
            )
        )
    return samples


def _in_town(sample: Sample, town: int) -> Sample:
    """Every object that counts fails by its town; the picture also holds what is overlapped."""
    truth = sample.truth
    names = [CARLA_NAMES[label] for label in truth.labels]
    causes = tuple(
        None if ignored else f"{name} in town0{town}"
        for name, ignored in zip(names, truth.ignore, strict=True)
    )
    covered = {f"{names[row]} overlapped" for row in np.flatnonzero(_overlapped(truth))}
    planted = {cause for cause in causes if cause} | covered
    return replace(sample, causes=causes, planted=frozenset(planted))


def _overlapped(truth: Truth) -> BoolArray:
    """Which objects are covered by another's box: IoU times union over the own area."""
    boxes = truth.boxes_xyxy
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # [M]
    iou = pairwise_iou(boxes, boxes) if len(boxes) else np.zeros((0, 0), np.float32)
    np.fill_diagonal(iou, 0)
    shared = iou / (1 + iou) * (area[:, None] + area[None, :])  # [M, M] intersection
    covered: BoolArray = (shared / np.maximum(area[:, None], 1e-6) >= OVERLAP).any(axis=1)
    return covered & ~truth.ignore


def _of_cells(sample: Sample, image: ImageArray) -> Sample:
    """Whether the picture is crowded with red cells, and whether it is strongly stained."""
    labels = sample.truth.labels
    held = set()
    if (labels == 1).sum() >= DENSE_CELLS:
        held.add(CROWDED)
    if np.median(rgb2hsv(image[::8, ::8])[..., 1]) >= STRONG_SATURATION and (labels == 2).any():
        held.add(STAINED)
    by_label = {CELL_CAUSES[cause]: cause for cause in held}
    causes = tuple(by_label.get(int(label)) for label in labels)
    return replace(sample, causes=causes, planted=frozenset(held))
