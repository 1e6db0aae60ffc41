"""What every arm is given: the base detector, its failures explained, and the pool embedded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.common.keep import kept
from benchmarks.loop.evidence import FieldFailure, Observer, cause_of, shown
from benchmarks.loop.worlds import Sample, World
from curation import explain, modes
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.index import RegionIndex
from curation.kernel.images import perceptual_hash
from curation.kernel.types import FloatArray
from curation.select import KnownObjects, ModeQuery, PoolImage
from retrain.config import TrainConfig
from retrain.detector import SsdDetector
from retrain.trainer import train

NO_REGIONS = "none"


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One world under one seed, ready for selection; the detector is that of ``base``.

    Attributes:
        observer: of the world, by the detector.
        explainer: of the failures.
        base: folder of the detector.
        failures: of the field.
        pool: as policies see it.
        samples: of the pool, by name.
        index: regions of the pool.
        excluded_hashes: perceptual hashes of images whose near-duplicates are never labelled.
        known: the objects of the training set.
        labelled: [L, D] float32 whole-image vectors of what is labelled.
        difficulty: [K] float32 in 0..1, 1 - AP50 of each class in the field.
        taught: by key of a failure mode, boxes of its frames that teach.
    """

    observer: Observer
    explainer: explain.Explainer
    base: Path
    failures: tuple[FieldFailure, ...]
    pool: tuple[PoolImage, ...]
    samples: dict[str, Sample]
    index: RegionIndex
    excluded_hashes: tuple[int, ...]
    known: KnownObjects
    labelled: FloatArray
    difficulty: FloatArray
    taught: Mapping[str, float] = field(default_factory=dict)

    @property
    def world(self) -> World:
        """Where this is."""
        return self.observer.world

    @property
    def detector(self) -> SsdDetector:
        """Whose failures these are."""
        return self.observer.detector

    def modes(self, variant: str) -> list[modes.Mode]:
        """Failure modes under one variant of the query regions, or by the object alone."""
        known = [f.evidence["box" if variant == NO_REGIONS else variant] for f in self.failures]
        if variant == NO_REGIONS:
            known = [
                replace(one, vectors=one.vectors[:0], weights=one.weights[:0]) for one in known
            ]
        apply = self.index.metric.apply
        return modes.cluster(known, apply, usual=self.known.alike(apply))

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
                self.taught.get(mode.key, 0.0),
            )
            for mode in self.modes(variant)
        ]


def train_base(world: World, folder: Path, epochs: int, threads: int) -> None:
    """The detector before the loop; trained once, then kept."""
    if not (folder / "config.json").exists():
        config = TrainConfig(
            epochs=epochs, learning_rate=2e-3, seed=world.seed, num_threads=threads
        )
        train(config, world.config, world.manifest(world.train), world.root, folder)


def prepare(
    world: World,
    base: Path,
    folder: Path,
    method: str,
    parameters: dict[str, object],
    selects: bool = True,
) -> Prepared:
    """Find and explain the failures of the field, embed them and the pool; each part is kept.

    Args:
        world: where.
        base: folder of the detector.
        folder: for what is kept.
        method: of explanation.
        parameters: of the method.
        selects: whether pool images are chosen; else what is only asked for that is left out.
    """
    detector = SsdDetector.load(base)
    encoder = TimmEncoder(input_size_hw=(224, 224))
    observer = Observer(world, detector, RegionEmbedder(encoder, mask_size_hw=(224, 224)))
    if not (folder / "pool.pickle").exists():  # then the index is of a run that was cut off
        shutil.rmtree(folder / "index", ignore_errors=True)
    index = RegionIndex(folder / "index", observer.embedder.version, observer.embedder.width)
    pool = kept(folder / "pool.pickle", lambda: observer.pool(index))
    name = "-".join([method, *(f"{key}={value}" for key, value in parameters.items())])
    explainer = explain.get(method, **explain.accepted(method, parameters))
    failures = kept(folder / f"failures-{name}.pickle", lambda: observer.failures(explainer))
    (known,) = kept(folder / "known.pickle", lambda: [observer.known(world.train)])
    labelled, difficulty = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    barred: list[Sample] = []
    if selects:
        (labelled,) = kept(folder / "labelled.pickle", lambda: [observer.wholes(world.train)])
        (difficulty,) = kept(
            folder / "difficulty.pickle", lambda: [observer.difficulty(world.field)]
        )
        barred = [*world.holdout, *world.siblings, *world.train]
    return Prepared(
        observer,
        explainer,
        base,
        told(failures, world),
        pool,
        {sample.name: sample for sample in world.pool},
        index,
        tuple(perceptual_hash(world.image(sample)) for sample in barred),
        known,
        labelled,
        difficulty,
    )


def told(failures: Sequence[FieldFailure], world: World) -> tuple[FieldFailure, ...]:
    """The same with what follows from the world: causes, frames and the groups of these.

    What is kept between runs may be older than the names of the causes, and knows no frames.
    """
    by_name = {sample.name: sample for sample in world.field}
    found = []
    for one in failures:
        sample = by_name[one.sample]
        evidence = {
            variant: replace(seen, frame=sample.name, group=world.group(sample))
            for variant, seen in one.evidence.items()
        }
        found.append(replace(one, cause=cause_of(sample, one.failure), evidence=evidence))
    return tuple(found)


def labelled_now(before: Prepared, labelled: Sequence[Sample]) -> Prepared:
    """The same after some images were labelled: a smaller pool, without their near-duplicates.

    What is known stays what the seed set holds, as in the service.
    """
    done = {sample.name for sample in labelled}
    new = [image for image in before.pool if image.image in done]
    return replace(
        before,
        pool=tuple(image for image in before.pool if image.image not in done),
        samples={name: sample for name, sample in before.samples.items() if name not in done},
        excluded_hashes=before.excluded_hashes + tuple(i.phash for i in new if i.phash is not None),
        labelled=np.stack([*before.labelled, *(i.vector for i in new if i.vector is not None)]),
    )


def again(before: Prepared, base: Path, labelled: Sequence[Sample], folder: Path) -> Prepared:
    """The same world one cycle later: a new detector, its failures, and a smaller pool.

    Args:
        before: the cycle that ended.
        base: folder of the new detector.
        labelled: images that were labelled in it.
        folder: for what is kept.
    """
    after = labelled_now(before, labelled)
    observer = replace(before.observer, detector=SsdDetector.load(base))
    wholes = {image.image: image.vector for image in before.pool}
    pool = kept(
        folder / "pool.pickle",
        lambda: (
            replace(observer.pool_image(sample), vector=wholes[sample.name])
            for sample in shown(list(after.samples.values()), "pool images looked at")
        ),
    )
    failures = kept(folder / "failures.pickle", lambda: observer.failures(before.explainer))
    (hard,) = kept(folder / "difficulty.pickle", lambda: [observer.difficulty(before.world.field)])
    return replace(
        after,
        observer=observer,
        base=base,
        failures=told(failures, before.world),
        pool=pool,
        difficulty=hard,
    )
