"""Worlds: images with truth, split so that what is tested can never be selected."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.common.keep import kept
from curation.kernel.images import content_hash, encode_png, load
from curation.kernel.manifest import Manifest, ManifestItem
from curation.kernel.types import Box, FloatArray, ImageArray, Truth
from retrain.config import DetectorConfig
from services.demo import street as world

VARIANTS = ("negative", "random", "positive", "box")
"""Which regions of a failure become its query; all but the first isolate the explanation."""
ANYWHERE = "anywhere"
"""Regions that hurt wherever they lie, for worlds where that may be far from the object."""
NAMED = "named"
"""And those that the service names, first the one whose removal helps most, where a method removes
any; of the others they are those near the object."""
MIN_SIBLINGS = 10
"""Images of the siblings that must hold a cause; the AP of fewer says nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image.

    Attributes:
        name: unique in its world.
        file: relative to the world's root.
        digest: hash of the file.
        truth: its objects.
        causes: an object the cause that it is known to fail by, or None.
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
    """All splits of one world under one seed; causes name the class that they make fail.

    Attributes:
        groups: by sample, what must be drawn together, such as one stretch of a drive. Worlds
            that have them deal out the same groups under every seed.
        sought_share: of the pool, that holds what a selection should find, at most.
        variants: of the query regions of a failure.
    """

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
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sought_share: float = 0.1
    variants: tuple[str, ...] = VARIANTS

    def group(self, sample: Sample) -> str:
        """A sample without a group is its own."""
        return self.groups.get(sample.name, sample.name)

    def manifest(self, samples: Sequence[Sample], origin: str | None = None) -> Manifest:
        """A data set of these samples."""
        return Manifest(
            self.class_names, tuple(sample.item(self.class_names, origin) for sample in samples)
        )

    @property
    def sought(self) -> frozenset[str]:
        """Causes that a selection should find, rare in the pool, and that the siblings can tell."""
        most = self.sought_share * len(self.pool)
        held = Counter(cause for sample in self.pool for cause in sample.planted)
        told = Counter(cause for sample in self.siblings for cause in sample.planted)
        return frozenset(
            cause
            for cause in self.cause_class
            if 0 < held[cause] <= most and told[cause] >= MIN_SIBLINGS
        )

    def useful(self, samples: Sequence[Sample]) -> list[frozenset[str]]:
        """What of the sought each image holds."""
        sought = self.sought
        return [sample.planted & sought for sample in samples]

    def image(self, sample: Sample) -> ImageArray:
        """The picture, decoded."""
        return load(self.root / sample.file)


def as_boxes(boxes_xyxy: FloatArray) -> list[Box]:
    """[N, 4] as tuples."""
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in boxes_xyxy]


STREETS = {
    "street": world.WorldConfig(),
    "street-fog": world.WorldConfig(fog_share=0.25, field_fog_share=1.0),
    "street-away": world.WorldConfig(causes=world.AWAY_CAUSES, figure_share=0.35),
}
"""Fog lies over all of the field and over some of everything else: what the failing frames share
and what hurts them are two things. Away, what hurts stands far from the object."""


def street(cache: Path, name: str, seed: int, pool: int, pool_share: float, field: int) -> World:
    """Generated scenes; causes are in ``pool_share`` of the pool each, if there were four."""
    config = STREETS[name]
    share = pool_share * len(world.CAUSES) / len(config.causes)
    config = dataclasses.replace(config, pool_share=share)
    root = cache / f"{name}-{seed}"
    counts: dict[world.Split, int] = {"seed": 300, "field": field, "pool": pool}
    counts |= {"siblings": 200, "holdout": 200}
    parts = {
        split: kept(root / f"{split}.pickle", partial(_rendered, config, split, count, seed, root))
        for split, count in counts.items()
    }
    return World(
        name,
        seed,
        root,
        world.CLASS_NAMES,
        DetectorConfig("ssdlite_efficientnet_lite0", world.CLASS_NAMES, (192, 256), 0.06, 0.8),
        {cause: world.CAUSE_CLASS[cause] for cause in config.causes},
        parts["seed"],
        parts["field"],
        parts["pool"],
        parts["siblings"],
        parts["holdout"],
        variants=(*VARIANTS, ANYWHERE, NAMED) if config.figure_share else VARIANTS,
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
