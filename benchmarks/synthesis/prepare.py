"""Misses of the first detector with what explains them, and objects that it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common.keep import kept
from benchmarks.loop import real, worlds
from benchmarks.loop.evidence import cause_of, shown
from benchmarks.loop.prepare import train_base
from benchmarks.loop.worlds import Sample, World, as_boxes
from curation import explain, superpixels
from curation.failures import FailureRules, find_failures
from curation.kernel.boxes import overlaps
from curation.kernel.matching import match
from curation.kernel.types import Attribution, BoolArray, Box, Failure, FailureKind
from curation.regions import Control, RegionRules, control_regions, harmful_regions
from curation.superpixels import SegmentArray
from curation.synthesis import known as known_objects
from curation.synthesis.composite import Object, Surroundings
from curation.synthesis.game import on_frame
from curation.synthesis.known import LEAST_SIDE_PX
from retrain.detector import SsdDetector
from services.demo import street

POOL, FIELD = 40, 200
SEGMENTS = 200
FRAMES = 120
"""Of the field, whose misses are explained."""


@dataclass(frozen=True, slots=True, eq=False)
class Miss:
    """An object with a known cause that the detector missed.

    Attributes:
        name: of the failure.
        sample: the frame.
        cause: planted, or "" where none is known.
        failure: what was missed.
        planted: [H, W] bool, the cause itself; None where it is not known.
    """

    name: str
    sample: Sample
    cause: str
    failure: Failure
    planted: BoolArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """A miss with its explanation.

    Attributes:
        segments: [H, W] int32 on the frame.
        regions: masks [H, W] bool by the name of a recipe; regions are cut from values.
    """

    segments: SegmentArray
    regions: dict[str, BoolArray]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A labelled object that the detector finds."""

    sample: Sample
    row: int
    label: int
    box_xyxy: Box
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """One world under one seed."""

    world: World
    detector: SsdDetector
    base: Path
    misses: tuple[Miss, ...]
    known: tuple[Known, ...]

    def object_of(self, known: Known) -> Object:
        """Cut out."""
        return Object.cut(self.world.image(known.sample), known.box_xyxy)

    def around(self, miss: Miss) -> Surroundings:
        """The frame of a miss without what was missed."""
        return Surroundings.of(self.world.image(miss.sample), miss.failure.box_xyxy)


def ready(cache: Path, seed: int, epochs: int = 10, pool_share: float = 0.0) -> Ready:
    """The street world, its first detector, what it misses and what it finds."""
    folder = cache / f"street-e{epochs}-field{FIELD}-{seed}"
    world = worlds.street(folder, "street", seed, POOL, pool_share, FIELD)
    train_base(world, folder / "base", epochs, 1)
    detector = SsdDetector.load(folder / "base")
    misses = kept(
        folder / "misses.pickle",
        lambda: (
            Miss(name, sample, cause, failure, planted_mask(sample, failure))
            for name, sample, failure in missed(detector, world, world.field[:FRAMES])
            if (cause := cause_of(sample, failure))
        ),
    )
    known = kept(folder / "known.pickle", lambda: found_objects(detector, world, world.train))
    return Ready(world, detector, folder / "base", misses, known)


def carla(cache: Path, data: Path, seed: int, epochs: int = 10) -> Ready:
    """CARLA: all misses in the towns that the detector does not know; their class for a cause.

    Nobody planted anything here, and nothing is trained on these towns: all of their frames are
    looked at. What is smaller than a known object may be is no place to put one.
    """
    world, folder = real.carla(data, seed), cache / f"carla-e{epochs}-{seed}"
    base = cache.parent / "loop" / f"carla-e{epochs}-base"
    train_base(world, base, epochs, 1)
    detector = SsdDetector.load(base)
    frames = sorted(
        (*world.field, *world.pool, *world.siblings, *world.holdout), key=lambda one: one.name
    )
    misses = kept(
        folder / "misses.pickle",
        lambda: (
            Miss(name, sample, world.class_names[failure.label], failure, None)
            for name, sample, failure in missed(detector, world, frames)
            if is_large(failure.box_xyxy)
        ),
    )
    known = kept(folder / "known.pickle", lambda: found_objects(detector, world, world.train))
    return Ready(world, detector, base, misses, known)


def missed(
    detector: SsdDetector, world: World, frames: Sequence[Sample]
) -> Iterator[tuple[str, Sample, Failure]]:
    """All objects of some frames that the detector does not find, with a name each."""
    for sample in shown(frames, "field images looked at"):
        image = world.image(sample)
        (detections,), (proposals,) = detector.predict([image]), detector.propose([image])
        for failure in find_failures(detections, proposals, sample.truth, FailureRules()):
            if failure.kind is FailureKind.FALSE_NEGATIVE:
                yield f"{sample.name}#{failure.truth_index}", sample, failure


def explained(ready: Ready, miss: Miss, num_samples: int, rng: np.random.Generator) -> Explained:
    """A miss explained by ``gp_shap``, with the regions near the object, cut from its values."""
    image, size_wh = ready.world.image(miss.sample), miss.sample.size_wh
    segments = superpixels.slic(image, ready.detector.input_size_hw, SEGMENTS)
    explainer = explain.get("gp_shap", num_samples=num_samples)
    (attribution,) = explainer.explain(ready.detector, image, [miss.failure.target], segments)
    regions = regions_of(miss.failure, attribution, size_wh, rng)
    return Explained(on_frame(segments, size_wh), regions)


def regions_of(
    failure: Failure, attribution: Attribution, size_wh: tuple[int, int], rng: np.random.Generator
) -> dict[str, BoolArray]:
    """Regions cut from values, and the controls of the loop's benchmark, as masks of the frame."""
    rules, hurts, box = RegionRules(), failure.hurts_positive, failure.box_xyxy
    negative = harmful_regions(attribution, hurts, size_wh, rules, box)
    chosen = {"regions": negative} | {
        str(control): control_regions(
            attribution, negative, control, hurts, size_wh, rules, box, rng
        )
        for control in (Control.RANDOM, Control.POSITIVE)
    }
    empty = np.zeros(attribution.segments.shape, np.bool_)
    masks = {
        name: np.any([region.mask for region in regions], axis=0) if regions else empty
        for name, regions in chosen.items()
    }
    rings = np.any([r.mask | r.ring for r in negative], axis=0) if negative else empty
    masks["regions_and_ring"] = rings
    return {
        name: on_frame(mask.astype(np.int32), size_wh).astype(np.bool_)
        for name, mask in masks.items()
    }


def planted_mask(sample: Sample, failure: Failure) -> BoolArray | None:
    """[H, W] bool: the pixels that the street world says make the object fail."""
    split, seed, index = sample.name.split("-")
    config = street.WorldConfig(pool_share=0.0)
    assert split == "field", f"{sample.name} is no field frame"
    assert failure.truth_index is not None, "a miss has a row of the truth"
    scene = street.draw_scene(config, "field", int(index), int(seed))
    mask: BoolArray = scene.cause_masks[failure.truth_index]
    return mask


def found_objects(
    detector: SsdDetector, world: World, samples: Sequence[Sample]
) -> Iterator[Known]:
    """Labelled objects that the detector finds at the working threshold."""
    rules = FailureRules()
    for sample in shown(samples, "labelled images looked at"):
        (found,) = detector.predict([world.image(sample)], rules.score_threshold)
        rows = match(found, sample.truth, rules.iou_threshold).detection_of_truth
        boxes = as_boxes(sample.truth.boxes_xyxy)
        for row, detection in enumerate(rows):
            box = boxes[row]
            if detection >= 0 and is_large(box):
                label, score = int(sample.truth.labels[row]), float(found.scores[detection])
                yield Known(sample, row, label, box, score)


def is_large(box_xyxy: Box) -> bool:
    """Whether a known object may be as small as this."""
    x1, y1, x2, y2 = box_xyxy
    return min(x2 - x1, y2 - y1) >= LEAST_SIDE_PX


def alike(known: Sequence[Known], miss: Miss, count: int, rng: np.random.Generator) -> list[Known]:
    """Known objects that a miss is tried on, in random order."""
    return known_objects.alike(known, miss.failure.box_xyxy, miss.failure.label, count, rng)


def foreign(world: World, box_xyxy: Box, count: int, rng: np.random.Generator) -> list[Sample]:
    """Labelled frames in which nothing labelled stands where the box is."""
    free = [
        sample
        for sample in world.train
        if not overlaps(box_xyxy, sample.truth.boxes_xyxy.astype(np.float64)).any()
    ]
    return [free[row] for row in rng.permutation(len(free))[:count]]
