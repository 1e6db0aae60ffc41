"""What every arm is given: the base detector, its failures explained, and the pool embedded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.loop.keep import kept
from benchmarks.loop.worlds import Sample, World, as_boxes
from curation import explain, modes, superpixels
from curation.boxes import pairwise_iou
from curation.embed import FailureEmbedding, RegionEmbedder
from curation.encoder import TimmEncoder
from curation.failures import FailureRules, find_failures
from curation.images import perceptual_hash
from curation.index import RegionIndex
from curation.modes import FailureEvidence
from curation.regions import Control, RegionRules, control_regions, harmful_regions
from curation.select import KnownObjects, ModeQuery, PoolImage
from curation.types import Attribution, Failure, FailureKind, ImageArray, Region
from retrain.config import TrainConfig
from retrain.detector import SsdDetector
from retrain.trainer import train

VARIANTS = ("negative", "random", "positive", "box")
"""Which regions of a failure become its query; all but the first isolate the explanation."""
NO_REGIONS = "none"
MAX_FAILURES = 8
MAX_ROIS, ROI_SCORE = 20, 0.02
COUNTED_SCORE = 0.3
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, eq=False)
class FieldFailure:
    """A failure in a field image, the cause known to be behind it, its evidence by variant."""

    name: str
    sample: str
    cause: str | None
    failure: Failure
    evidence: dict[str, FailureEvidence]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One world under one seed, ready for selection."""

    world: World
    base: Path
    detector: SsdDetector
    failures: tuple[FieldFailure, ...]
    pool: tuple[PoolImage, ...]
    samples: dict[str, Sample]
    index: RegionIndex
    holdout_hashes: tuple[int, ...]
    known: KnownObjects

    def modes(self, variant: str) -> list[modes.Mode]:
        """Failure modes under one variant of the query regions, or by the object alone."""
        known = [f.evidence["box" if variant == NO_REGIONS else variant] for f in self.failures]
        if variant == NO_REGIONS:
            known = [
                replace(one, vectors=one.vectors[:0], weights=one.weights[:0]) for one in known
            ]
        return modes.cluster(known, self.index.metric.apply)

    def queries(self, variant: str) -> list[ModeQuery]:
        """The modes as searches."""
        objects = {f.name: f.evidence["box"].object_vector for f in self.failures}
        return [
            ModeQuery(
                mode.key,
                mode.kind,
                mode.label,
                mode.vectors,
                mode.weights,
                mode.object_vector,
                mode.whole,
                mode.weight,
                np.stack([objects[member] for member in mode.members]),
            )
            for mode in self.modes(variant)
        ]


def shown(items: Sequence[_Item], what: str) -> Iterator[_Item]:
    """The items, with a line of progress on standard error."""
    for number, item in enumerate(items, 1):
        if number % 25 == 0 or number == len(items):
            print(f"\r  {what} {number}/{len(items)}   ", end="", file=sys.stderr, flush=True)
        yield item
    print(file=sys.stderr)


def train_base(world: World, folder: Path, epochs: int, threads: int) -> None:
    """The detector before the loop; trained once, then kept."""
    if not (folder / "config.json").exists():
        config = TrainConfig(epochs=epochs, seed=world.seed, num_threads=threads)
        train(config, world.config, world.manifest(world.train), world.root, folder)


def prepare(
    world: World, base: Path, folder: Path, method: str, parameters: dict[str, object]
) -> Prepared:
    """Find and explain the failures of the field, embed them and the pool; each part is kept."""
    detector = SsdDetector.load(base)
    encoder = TimmEncoder(input_size_hw=(224, 224))
    embedder = RegionEmbedder(encoder, mask_size_hw=(224, 224))
    if not (folder / "pool.pickle").exists():  # then the index is of a run that was cut off
        shutil.rmtree(folder / "index", ignore_errors=True)
    index = RegionIndex(folder / "index", embedder.version, embedder.width)
    pool = kept(folder / "pool.pickle", lambda: _embedded(world, detector, embedder, index))
    explainer = explain.get(method, **explain.accepted(method, parameters))
    rng = np.random.default_rng(world.seed)
    name = "-".join([method, *(f"{key}={value}" for key, value in parameters.items())])
    failures = kept(
        folder / f"failures-{name}.pickle",
        lambda: (
            failure
            for sample in shown(world.field, "field images explained")
            for failure in _explained(world, sample, detector, embedder, explainer, rng)
        ),
    )
    by_name = {sample.name: sample for sample in world.field}
    failures = tuple(  # what is kept may be older than the names of the causes
        replace(one, cause=_cause(by_name[one.sample], one.failure)) for one in failures
    )
    (known,) = kept(folder / "known.pickle", lambda: [_known(world, embedder)])
    tested = [*world.holdout, *world.siblings]
    hashes = tuple(perceptual_hash(world.image(sample)) for sample in tested)
    return Prepared(
        world,
        base,
        detector,
        failures,
        pool,
        {sample.name: sample for sample in world.pool},
        index,
        hashes,
        known,
    )


def _explained(
    world: World,
    sample: Sample,
    detector: SsdDetector,
    embedder: RegionEmbedder,
    explainer: explain.Explainer,
    rng: np.random.Generator,
) -> Iterable[FieldFailure]:
    image = world.image(sample)
    (detections,), (proposals,) = detector.predict([image]), detector.propose([image])
    found = find_failures(detections, proposals, sample.truth, FailureRules())[:MAX_FAILURES]
    if not found:
        return
    segments = superpixels.slic(image, detector.input_size_hw, 200)
    attributions = explainer.explain(detector, image, [f.target for f in found], segments)
    pairs = [(f, _regions(f, a, sample, rng)) for f, a in zip(found, attributions, strict=True)]
    flat = [(f.box_xyxy, regions[variant]) for f, regions in pairs for variant in VARIANTS]
    embedded = iter(
        embedder.embed_failures(image, [box for box, _ in flat], [regions for _, regions in flat])
    )
    for number, failure in enumerate(found):
        name = f"{sample.name}#{number}"
        own = {variant: next(embedded) for variant in VARIANTS}
        evidence = {v: _evidence(name, failure, vectors) for v, vectors in own.items()}
        yield FieldFailure(name, sample.name, _cause(sample, failure), failure, evidence)


def _regions(
    failure: Failure, attribution: Attribution, sample: Sample, rng: np.random.Generator
) -> dict[str, list[Region]]:
    rules, hurts, size = RegionRules(), failure.hurts_positive, sample.size_wh
    negative = harmful_regions(attribution, hurts, size, rules, failure.box_xyxy)
    controls = {"random": Control.RANDOM, "positive": Control.POSITIVE, "box": Control.BOX}
    return {"negative": negative} | {
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


def _cause(sample: Sample, failure: Failure) -> str | None:
    if failure.truth_index is not None:
        return sample.causes[failure.truth_index]
    if failure.kind is FailureKind.FALSE_POSITIVE and sample.lookalikes:
        boxes = np.array([box for box, _ in sample.lookalikes], np.float32)
        iou = pairwise_iou(np.array([failure.box_xyxy], np.float32), boxes)[0]
        return sample.lookalikes[int(iou.argmax())][1] if iou.max() > 0.1 else None
    return None


def _known(world: World, embedder: RegionEmbedder) -> KnownObjects:
    """The objects of the training set."""
    vectors = [np.zeros((0, embedder.width), np.float32)]
    for sample in shown(world.train, "training images embedded"):
        boxes = as_boxes(sample.truth.boxes_xyxy)
        found = embedder.embed_failures(world.image(sample), boxes, [[]] * len(boxes))
        vectors.extend(one.object_vector[None] for one in found)
    labels = np.concatenate([sample.truth.labels for sample in world.train])
    return KnownObjects(np.concatenate(vectors), labels)


def _embedded(
    world: World, detector: SsdDetector, embedder: RegionEmbedder, index: RegionIndex
) -> list[PoolImage]:
    images, cells = [], []
    for sample in shown(world.pool, "pool images embedded"):
        picture = world.image(sample)
        cells.extend(embedder.embed_pool([picture]))
        image = _pool_image(sample, picture, detector, embedder)
        images.append(replace(image, vector=cells[-1].whole))
    index.add(
        [image.image for image in images],
        [cell.vectors for cell in cells],
        [cell.boxes_xyxy for cell in cells],
    )
    return images


def _pool_image(
    sample: Sample, picture: ImageArray, detector: SsdDetector, embedder: RegionEmbedder
) -> PoolImage:
    (detections,) = detector.predict([picture])
    strong = detections.above(ROI_SCORE)
    if len(strong) > MAX_ROIS:
        strong = detections.above(float(detections.scores[MAX_ROIS - 1]))
    found = as_boxes(strong.boxes_xyxy)
    embedded = embedder.embed_failures(picture, found, [[]] * len(found))
    rois = np.array([one.object_vector for one in embedded], np.float32)
    return PoolImage(
        sample.name,
        float((strong.scores >= COUNTED_SCORE).sum()),
        perceptual_hash(picture),
        strong,
        None,
        rois.reshape(len(found), embedder.width),
    )
