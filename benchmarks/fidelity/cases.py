"""What is explained: found, missed and false objects in images whose objects overlap."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.detectors import manifests
from benchmarks.loop.worlds import STREETS
from curation.failures import find_failures
from curation.failures.default_boxes import FailureRules
from curation.kernel import images
from curation.kernel.boxes import pairwise_iou
from curation.kernel.matching import match
from curation.kernel.types import BoolArray, Box, FailureKind, ImageArray, ScoreTarget, Truth
from retrain.detector import SsdDetector
from services.demo import street as world

WORLDS = ("street", "bccd", "carla")
"""Those of all parts but the one for causes away from the object."""
AWAY = "street-away"
STREET_SEED = 11
_OVERLAP = 0.02
_LOOKALIKE = 0.3
_RULES = FailureRules()
MOST = 4
"""Explained detections of one image, unless more are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One explained detection.

    Attributes:
        kind: "TP", "FP" or "FN", a wrong class being a miss of the right one.
        target: its score.
        box_xyxy: the object, or the false detection, px of the image.
        cause: name of its planted cause, None where none is known.
        cause_mask: [H, W] bool, its pixels.
    """

    kind: str
    target: ScoreTarget
    box_xyxy: Box
    cause: str | None = None
    cause_mask: BoolArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image with what is explained in it."""

    name: str
    image: ImageArray
    subjects: tuple[Subject, ...]

    @property
    def targets(self) -> list[ScoreTarget]:
        return [subject.target for subject in self.subjects]


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    name: str
    image: ImageArray
    truth: Truth
    scene: world.Scene | None = None


def find(
    name: str,
    detector: SsdDetector,
    data: Path,
    count: int,
    planted: bool = False,
    most: int = MOST,
    seed: int = STREET_SEED,
) -> list[Case]:
    """The first ``count`` images of a world that hold a failure beside overlapping objects.

    Args:
        name: of the world; generated scenes are siblings, files come in reverse order.
        detector: whose failures.
        data: folder of the real data.
        count: how many images.
        planted: only images with a failure of a planted cause, and of those only the failures.
        most: detections of an image.
        seed: of the street scenes.
    """
    cases: list[Case] = []
    for picture in _pictures(name, data, seed):
        if len(cases) == count:
            break
        if not planted and not _overlapping(picture.truth):
            continue
        subjects = _subjects(picture, detector, most)
        if planted:
            subjects = [subject for subject in subjects if subject.cause_mask is not None]
        elif all(subject.kind == "TP" for subject in subjects):
            continue
        if subjects:
            cases.append(Case(picture.name, picture.image, tuple(subjects)))
    return cases


def _pictures(name: str, data: Path, seed: int) -> Iterator[_Picture]:
    if name in STREETS:
        for scene in world.generate(STREETS[name], "siblings", 400, seed):
            yield _Picture(scene.name, scene.image, scene.truth, scene)
        return
    with tempfile.TemporaryDirectory() as scratch:
        _, testing, root = manifests(name, data, Path(scratch), 0)
    for item in reversed(testing.items):
        boxes = np.array(item.boxes_xyxy, np.float32).reshape(-1, 4)
        labels = [testing.class_names.index(label) for label in item.labels]
        truth = Truth(boxes, np.array(labels, np.int64), np.array(item.ignore, np.bool_))
        yield _Picture(Path(item.file).stem, images.decode((root / item.file).read_bytes()), truth)


def _overlapping(truth: Truth) -> bool:
    overlap = pairwise_iou(truth.boxes_xyxy, truth.boxes_xyxy)
    return bool((np.triu(overlap, 1) > _OVERLAP).any())


def _subjects(picture: _Picture, detector: SsdDetector, most: int) -> list[Subject]:
    """Up to two misses, one false detection, and found objects up to ``most`` in all."""
    detections = detector.predict([picture.image])[0]
    proposals = detector.propose([picture.image])[0]
    failures = find_failures(detections, proposals, picture.truth, _RULES)
    missed = (FailureKind.FALSE_NEGATIVE, FailureKind.WRONG_CLASS)
    found: list[Subject] = []
    for failure in failures:
        kind = "FN" if failure.kind in missed else "FP"
        if failure.kind is FailureKind.BAD_LOCALISATION or not failure.proposed:
            continue
        cause, mask = _cause(picture, failure.truth_index, failure.box_xyxy, kind)
        found.append(Subject(kind, failure.target, failure.box_xyxy, cause, mask))
    found.sort(key=lambda subject: subject.cause_mask is None)  # planted ones first
    chosen = [s for s in found if s.kind == "FN"][:2] + [s for s in found if s.kind == "FP"][:1]
    shown = detections.above(_RULES.score_threshold)
    rows = np.flatnonzero(match(shown, picture.truth).truth_of_detection >= 0)
    for row in rows[::-1][: most - len(chosen)]:  # the least certain first
        x1, y1, x2, y2 = (float(side) for side in shown.boxes_xyxy[row])
        target = ScoreTarget(int(shown.default_boxes[row]), int(shown.labels[row]))
        chosen.append(Subject("TP", target, (x1, y1, x2, y2)))
    unique = {subject.target: subject for subject in reversed(chosen)}
    return list(reversed(unique.values()))


def _cause(
    picture: _Picture, truth_index: int | None, box: Box, kind: str
) -> tuple[str | None, BoolArray | None]:
    scene = picture.scene
    if scene is None:
        return None, None
    if truth_index is not None and scene.causes[truth_index]:
        return scene.causes[truth_index], scene.cause_masks[truth_index]
    for entry in scene.lookalikes if kind == "FP" else ():
        boxes = np.array([box, entry.box_xyxy], np.float32)
        if pairwise_iou(boxes[:1], boxes[1:])[0, 0] >= _LOOKALIKE:
            return entry.cause, entry.mask
    return None, None
