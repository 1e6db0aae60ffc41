"""Worlds: images with truth, split so that what is tested can never be selected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.detectors import MIN_SIDE_PX
from benchmarks.loop.keep import kept
from curation import formats, world
from curation.boxes import pairwise_iou
from curation.images import content_hash, encode_png, load
from curation.manifest import Manifest, ManifestItem
from curation.types import Box, FloatArray, ImageArray, Truth
from retrain.config import DetectorConfig

FIELD_BLOCKS, HOLDOUT_BLOCKS, SIBLING_BLOCKS = {0, 10}, {2, 6, 12}, {4, 8, 14}
BLOCK = 20
OVERLAP = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image.

    Attributes:
        name: unique in its world.
        file: relative to the world's root.
        digest: hash of the file.
        truth: its objects.
        causes: a object the cause that it is known to fail by, or None.
        planted: all causes in the image, of objects and of look-alikes.
        lookalikes: boxes of what is no object, with their cause.
    """

    name: str
    file: str
    digest: str
    size_wh: tuple[int, int]
    truth: Truth
    causes: tuple[str | None, ...]
    planted: frozenset[str]
    lookalikes: tuple[tuple[tuple[float, ...], str], ...] = ()

    def item(self, class_names: Sequence[str], origin: str | None = None) -> ManifestItem:
        """Its entry in a data set."""
        return ManifestItem(
            image=self.digest,
            file=self.file,
            width_px=self.size_wh[0],
            height_px=self.size_wh[1],
            boxes_xyxy=tuple(as_boxes(self.truth.boxes_xyxy)),
            labels=tuple(class_names[label] for label in self.truth.labels),
            ignore=tuple(bool(flag) for flag in self.truth.ignore),
            origin=origin,
        )


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """All splits of one world under one seed; causes name the class that they make fail."""

    name: str
    seed: int
    root: Path
    class_names: tuple[str, ...]
    config: DetectorConfig
    cause_class: dict[str, int]
    train: tuple[Sample, ...]
    field: tuple[Sample, ...]
    pool: tuple[Sample, ...]
    siblings: tuple[Sample, ...]
    holdout: tuple[Sample, ...]

    def manifest(self, samples: Sequence[Sample], origin: str | None = None) -> Manifest:
        """A data set of these samples."""
        return Manifest(
            self.class_names, tuple(sample.item(self.class_names, origin) for sample in samples)
        )

    def image(self, sample: Sample) -> ImageArray:
        """The picture, decoded."""
        return load(self.root / sample.file)


def as_boxes(boxes_xyxy: FloatArray) -> list[Box]:
    """[N, 4] as tuples."""
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in boxes_xyxy]


def street(cache: Path, seed: int, pool: int, pool_share: float, field: int) -> World:
    """Generated scenes; each of the four causes in ``pool_share`` of the pool."""
    config = world.WorldConfig(pool_share=pool_share)
    root = cache / f"street-{seed}"
    counts: dict[world.Split, int] = {"seed": 300, "field": field, "pool": pool}
    counts |= {"siblings": 200, "holdout": 200}
    parts = {
        split: kept(root / f"{split}.pickle", partial(_rendered, config, split, count, seed, root))
        for split, count in counts.items()
    }
    return World(
        "street",
        seed,
        root,
        world.CLASS_NAMES,
        DetectorConfig("ssdlite_efficientnet_lite0", world.CLASS_NAMES, (192, 256), min_scale=0.06),
        dict(world.CAUSE_CLASS),
        parts["seed"],
        parts["field"],
        parts["pool"],
        parts["siblings"],
        parts["holdout"],
    )


def _rendered(
    config: world.WorldConfig, split: world.Split, count: int, seed: int, root: Path
) -> Iterator[Sample]:
    for scene in world.generate(config, split, count, seed):
        data = encode_png(scene.image)
        file = f"{split}/{scene.name}.png"
        path = root / file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield Sample(
            scene.name,
            file,
            content_hash(data),
            (scene.image.shape[1], scene.image.shape[0]),
            scene.truth,
            scene.causes,
            frozenset(scene.planted),
            tuple((entry.box_xyxy, entry.cause) for entry in scene.lookalikes),
        )


def carla(data: Path, seed: int) -> World:
    """Trains on town01 and town02; field, pool and holdouts are blocks of town03 to town05.

    The shift is global there. The local cause that boxes can tell is overlap: a class of which a
    fifth is covered by the box of another object. The seed turns the blocks.
    """
    root = data / "carla" / "images"
    names = ("background", "vehicle", "bike", "motobike", "traffic_light", "traffic_sign")
    towns = {n: _town(data / f"carla/town0{n}.json", root, names) for n in range(1, 6)}
    sides: dict[str, list[Sample]] = {"field": [], "pool": [], "siblings": [], "holdout": []}
    for town in (3, 4, 5):
        for row, sample in enumerate(towns[town]):
            sides[_side((row // BLOCK + 3 * seed) % 16)].append(sample)
    causes = {f"{name} overlapped": label for label, name in enumerate(names) if label}
    return World(
        "carla",
        seed,
        root,
        names,
        DetectorConfig("ssdlite_efficientnet_lite0", names, (256, 432), min_scale=0.04),
        causes,
        tuple(towns[1] + towns[2]),
        *(tuple(sides[side]) for side in ("field", "pool", "siblings", "holdout")),
    )


def _side(block: int) -> str:
    if block in FIELD_BLOCKS:
        return "field"
    if block in HOLDOUT_BLOCKS:
        return "holdout"
    return "siblings" if block in SIBLING_BLOCKS else "pool"


def _town(annotations: Path, root: Path, names: tuple[str, ...]) -> list[Sample]:
    imported = formats.load(annotations, min_side_px=MIN_SIDE_PX)
    samples = []
    for entry in sorted(imported.items, key=lambda item: item.path):
        boxes = np.array(entry.boxes_xyxy, np.float32).reshape(-1, 4)
        labels = np.array([names.index(label) for label in entry.labels], np.int64)
        truth = Truth(boxes, labels, np.array(entry.ignore, np.bool_))
        causes = _overlapped(truth, names)
        file = str(entry.path.relative_to(root))
        samples.append(
            Sample(
                entry.path.stem,
                file,
                content_hash(entry.path.read_bytes()),
                (entry.width_px, entry.height_px),
                truth,
                causes,
                frozenset(cause for cause in causes if cause),
            )
        )
    return samples


def _overlapped(truth: Truth, names: tuple[str, ...]) -> tuple[str | None, ...]:
    """Which objects are covered by another's box: IoU times union over the own area."""
    boxes = truth.boxes_xyxy
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # [M]
    iou = pairwise_iou(boxes, boxes) if len(boxes) else np.zeros((0, 0), np.float32)
    np.fill_diagonal(iou, 0)
    shared = iou / (1 + iou) * (area[:, None] + area[None, :])  # [M, M] intersection
    covered = (shared / np.maximum(area[:, None], 1e-6) >= OVERLAP).any(axis=1)
    covered &= ~truth.ignore
    return tuple(
        f"{names[label]} overlapped" if flag else None
        for label, flag in zip(truth.labels, covered, strict=True)
    )
