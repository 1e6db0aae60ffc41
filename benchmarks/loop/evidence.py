"""What a detector fails at in the field and what it sees in the pool, as vectors."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from benchmarks.loop import tested
from benchmarks.loop.average_precision import ap50, matched
from benchmarks.loop.worlds import ANYWHERE, NAMED, Sample, World, as_boxes
from curation import superpixels
from curation.embedding.embed import FailureEmbedding, RegionEmbedder
from curation.explain import Explainer
from curation.explain.hurting import hurting_regions
from curation.failures import FailureRules, find_failures
from curation.index import RegionIndex
from curation.kernel.boxes import pairwise_iou
from curation.kernel.images import perceptual_hash
from curation.kernel.types import Attribution, Failure, FailureKind, FloatArray, Region
from curation.modes import FailureEvidence
from curation.regions import Control, RegionRules, control_regions, harmful_regions
from curation.select import KnownObjects, PoolImage
from retrain.detector import SsdDetector

MAX_FAILURES = 8
MAX_ROIS, ROI_SCORE = 20, 0.02
COUNTED_SCORE = 0.3
"""Detections above it are an image's estimated boxes; ``budget.spend`` counts true ones."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, eq=False)
class FieldFailure:
    """A failure in a field image, the cause known to be behind it, its evidence by variant."""

    name: str
    sample: str
    cause: str | None
    failure: Failure
    evidence: dict[str, FailureEvidence]


def shown(items: Sequence[_Item], what: str) -> Iterator[_Item]:
    """The items, with a line of progress on standard error."""
    for number, item in enumerate(items, 1):
        if number % 25 == 0 or number == len(items):
            print(f"\r  {what} {number}/{len(items)}   ", end="", file=sys.stderr, flush=True)
        yield item
    print(file=sys.stderr)


@dataclass(frozen=True, slots=True, eq=False)
class Observer:
    """One detector in one world.

    Attributes:
        world: see there.
        detector: whose failures.
        embedder: of regions and objects.
    """

    world: World
    detector: SsdDetector
    embedder: RegionEmbedder

    def failures(self, explainer: Explainer) -> Iterator[FieldFailure]:
        """Of all field images, explained."""
        rng = np.random.default_rng(self.world.seed)
        for sample in shown(self.world.field, "field images explained"):
            yield from self._explained(sample, explainer, rng)

    def known(self, samples: Sequence[Sample]) -> KnownObjects:
        """The objects of labelled images."""
        vectors = [np.zeros((0, self.embedder.width), np.float32)]
        for sample in shown(samples, "labelled images embedded"):
            boxes = as_boxes(sample.truth.boxes_xyxy)
            image = self.world.image(sample)
            found = self.embedder.embed_failures(image, boxes, [[]] * len(boxes))
            vectors.extend(one.object_vector[None] for one in found)
        labels = [np.zeros(0, np.int64), *(sample.truth.labels for sample in samples)]
        return KnownObjects(np.concatenate(vectors), np.concatenate(labels))

    def wholes(self, samples: Sequence[Sample]) -> FloatArray:
        """[L, D] float32 of labelled images, one vector each."""
        images = (self.world.image(sample) for sample in shown(samples, "labelled images embedded"))
        return np.stack([self.embedder.embed_pool([image])[0].whole for image in images])

    def difficulty(self, samples: Sequence[Sample]) -> FloatArray:
        """[K] float32 in 0..1: 1 - AP50 of each class; 1 for what is in none of the samples."""
        found = tested.detections(self.detector, self.world, samples)
        hard = np.ones(len(self.world.class_names), np.float32)
        for label in range(1, len(hard)):
            images = [matched(f, s.truth, label) for s, f in zip(*found, strict=True)]
            hard[label] -= ap50(images) or 0.0
        return hard

    def pool(self, index: RegionIndex) -> list[PoolImage]:
        """Every image of the pool; its regions go into the index."""
        images, cells = [], []
        for sample in shown(self.world.pool, "pool images embedded"):
            cells.extend(self.embedder.embed_pool([self.world.image(sample)]))
            images.append(replace(self.pool_image(sample), vector=cells[-1].whole))
        index.add(
            [image.image for image in images],
            [cell.vectors for cell in cells],
            [cell.boxes_xyxy for cell in cells],
        )
        return images

    def pool_image(self, sample: Sample) -> PoolImage:
        """What the detector finds in an image, without the vector of the whole."""
        picture = self.world.image(sample)
        (detections,) = self.detector.predict([picture])
        strong = detections.above(ROI_SCORE)
        if len(strong) > MAX_ROIS:
            strong = detections.above(float(detections.scores[MAX_ROIS - 1]))
        found = as_boxes(strong.boxes_xyxy)
        embedded = self.embedder.embed_failures(picture, found, [[]] * len(found))
        rois = np.array([one.object_vector for one in embedded], np.float32)
        return PoolImage(
            sample.name,
            float((strong.scores >= COUNTED_SCORE).sum()),
            perceptual_hash(picture),
            strong,
            None,
            rois.reshape(len(found), self.embedder.width),
        )

    def _explained(
        self, sample: Sample, explainer: Explainer, rng: np.random.Generator
    ) -> Iterator[FieldFailure]:
        image = self.world.image(sample)
        detector, embedder = self.detector, self.embedder
        (detections,), (proposals,) = detector.predict([image]), detector.propose([image])
        found = find_failures(detections, proposals, sample.truth, FailureRules())[:MAX_FAILURES]
        if not found:
            return
        segments = superpixels.slic(image, detector.input_size_hw, 200)
        attributions = explainer.explain(detector, image, [f.target for f in found], segments)
        variants = self.world.variants
        pairs = [(f, _regions(f, a, sample, rng)) for f, a in zip(found, attributions, strict=True)]
        flat = [(f.box_xyxy, regions[variant]) for f, regions in pairs for variant in variants]
        embedded = iter(
            embedder.embed_failures(
                image, [box for box, _ in flat], [regions for _, regions in flat]
            )
        )
        for number, failure in enumerate(found):
            name = f"{sample.name}#{number}"
            own = {variant: next(embedded) for variant in variants}
            evidence = {v: _evidence(name, failure, vectors) for v, vectors in own.items()}
            yield FieldFailure(name, sample.name, cause_of(sample, failure), failure, evidence)


def _regions(
    failure: Failure, attribution: Attribution, sample: Sample, rng: np.random.Generator
) -> dict[str, list[Region]]:
    rules, hurts, size = RegionRules(), failure.hurts_positive, sample.size_wh
    negative = harmful_regions(attribution, hurts, size, rules, failure.box_xyxy)
    controls = {"random": Control.RANDOM, "positive": Control.POSITIVE, "box": Control.BOX}
    anywhere = harmful_regions(attribution, hurts, size, rules)
    named = hurting_regions(attribution, hurts, size, rules, failure.box_xyxy)
    return {"negative": negative, ANYWHERE: anywhere, NAMED: named} | {
        name: control_regions(
            attribution, negative, control, hurts, size, rules, failure.box_xyxy, rng
        )
        for name, control in controls.items()
    }


def _evidence(name: str, failure: Failure, vectors: FailureEmbedding) -> FailureEvidence:
    return FailureEvidence(
        name,
        failure.kind,
        failure.label,
        vectors.vectors,
        vectors.weights,
        vectors.object_vector,
        vectors.whole,
    )


def cause_of(sample: Sample, failure: Failure) -> str | None:
    """The planted cause of what the failure is about; None where none is known."""
    if failure.truth_index is not None:
        return sample.causes[failure.truth_index]
    if failure.kind is FailureKind.FALSE_POSITIVE and sample.lookalikes:
        boxes = np.array([box for box, _ in sample.lookalikes], np.float32)
        iou = pairwise_iou(np.array([failure.box_xyxy], np.float32), boxes)[0]
        return sample.lookalikes[int(iou.argmax())][1] if iou.max() > 0.1 else None
    return None
