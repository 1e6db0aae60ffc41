"""The nouns of the loop, as frozen dataclasses whose shapes are checked when they are made.

Boxes are float32 xyxy in pixels of the *original* image with ``0 <= x1 < x2 <= W``. Class 0 is
background. Arrays are numpy; tensors stay inside detectors, encoders and explainers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from curation.kernel.errors import InvalidBoxes

FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
ImageArray: TypeAlias = npt.NDArray[np.uint8]
"""RGB image [H, W, 3] uint8."""
Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the original image."""


class FailureKind(StrEnum):
    """How a detection is wrong."""

    FALSE_NEGATIVE = "false_negative"
    FALSE_POSITIVE = "false_positive"
    WRONG_CLASS = "wrong_class"
    BAD_LOCALISATION = "bad_localisation"


class Mechanism(StrEnum):
    """What lost a missed object (Miller et al., 2022: five mechanisms of a false negative)."""

    CALIBRATION = "calibration_or_nms"
    OTHER_CLASS = "other_class"
    BACKGROUND = "background"
    REGRESSION = "box_regression"
    NO_DEFAULT_BOX = "no_default_box"


def _check_boxes(boxes: FloatArray, count: int, what: str) -> None:
    if boxes.shape != (count, 4):
        raise InvalidBoxes(f"{what}: boxes have shape {boxes.shape}, expected ({count}, 4)")
    if not np.isfinite(boxes).all():
        raise InvalidBoxes(f"{what}: a box is not finite")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector found in one image, after non-maximum suppression, by falling score.

    Attributes:
        boxes_xyxy: [N, 4] float32 px of the original image.
        scores: [N] float32 in 0..1.
        labels: [N] int64 in 1..K-1.
        default_boxes: [N] int64 in 0..A-1: the default box each detection came from, so that
            the same candidate can be scored again under a perturbation.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    labels: IntArray
    default_boxes: IntArray

    def __post_init__(self) -> None:
        count = len(self.scores)
        _check_boxes(self.boxes_xyxy, count, "detections")
        if len(self.labels) != count or len(self.default_boxes) != count:
            raise InvalidBoxes(
                f"detections: {count} scores, {len(self.labels)} labels, "
                f"{len(self.default_boxes)} default boxes"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Those with a score of at least ``threshold``."""
        return self._where(self.scores >= threshold)

    def of_classes(self, num_classes: int) -> Detections:
        """Those of a class below ``num_classes``, which counts the background."""
        return self._where(self.labels < num_classes)

    def _where(self, keep: BoolArray) -> Detections:
        return Detections(
            self.boxes_xyxy[keep], self.scores[keep], self.labels[keep], self.default_boxes[keep]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The annotated objects of one image.

    Attributes:
        boxes_xyxy: [M, 4] float32 px of the original image.
        labels: [M] int64 in 1..K-1.
        ignore: [M] bool; such a box neither counts as missed nor makes a detection false.
    """

    boxes_xyxy: FloatArray
    labels: IntArray
    ignore: BoolArray

    def __post_init__(self) -> None:
        count = len(self.labels)
        _check_boxes(self.boxes_xyxy, count, "truth")
        if len(self.ignore) != count:
            raise InvalidBoxes(f"truth: {count} labels, {len(self.ignore)} ignore flags")

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, kept: BoolArray) -> Truth:
        """Some of the objects, by ``kept`` [M]."""
        return Truth(self.boxes_xyxy[kept], self.labels[kept], self.ignore[kept])

    def without(self, row: int) -> Truth:
        """All objects but one, in 0..M-1."""
        return self.subset(np.arange(len(self)) != row)

    @staticmethod
    def empty() -> Truth:
        """An image without objects."""
        return Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Every default box of one image with what the network makes of it, before any suppression.

    Attributes:
        boxes_xyxy: [A, 4] float32 px of the original image, regressed and clipped to it.
        probabilities: [A, K] float32, softmax over classes, background at 0.
        default_boxes_xyxy: [A, 4] float32 px of the original image, as placed, not regressed.
    """

    boxes_xyxy: FloatArray
    probabilities: FloatArray
    default_boxes_xyxy: FloatArray


@dataclass(frozen=True, slots=True, order=True)
class ScoreTarget:
    """The scalar an explanation is about: one class at one default box."""

    default_box: int
    label: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One wrong detection.

    Attributes:
        kind: how it is wrong.
        box_xyxy: the object that was missed, or for a false positive the false detection.
        label: the class that should have been found there; for a false positive the class
            that should not have been.
        predicted_label: the class that was predicted, None for a false negative.
        score: probability of the explained target, in 0..1.
        default_box: the default box that is explained.
        iou: overlap of the explained candidate's box with ``box_xyxy``, in 0..1.
        truth_index: row of the truth, None for a false positive or an operator's report.
        mechanism: what lost a false negative, None for other kinds.
        proposed: False if no regressed box overlapped the object enough with at least the
            lowered threshold; the target is then the default box that came closest.
    """

    kind: FailureKind
    box_xyxy: Box
    label: int
    predicted_label: int | None
    score: float
    default_box: int
    iou: float
    truth_index: int | None = None
    mechanism: Mechanism | None = None
    proposed: bool = True

    @property
    def target(self) -> ScoreTarget:
        """The class and default box whose score is explained."""
        return ScoreTarget(self.default_box, self.label)

    @property
    def hurts_positive(self) -> bool:
        """True where the harm is what *supports* the score, as for a false positive."""
        return self.kind is FailureKind.FALSE_POSITIVE


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that is believed.

    Attributes:
        value: its mean.
        error: its standard deviation.
    """

    value: float
    error: float

    def times(self, factor: float) -> Estimate:
        """Of ``factor`` times what is believed; ``factor`` is not negative."""
        return Estimate(self.value * factor, self.error * factor)


@dataclass(frozen=True, slots=True)
class Pair:
    """What a group of superpixels does to the score, by whether another is there.

    Attributes:
        beside: the score with the group minus that without it, while the other group is shown.
        alone: the same while the other is hidden.
        interaction: ``beside`` minus ``alone``; the same for both groups of a pair.
    """

    beside: Estimate
    alone: Estimate
    interaction: Estimate

    def times(self, factor: float) -> Pair:
        """Of a score in another unit; ``factor`` is not negative."""
        beside, alone = self.beside.times(factor), self.alone.times(factor)
        return Pair(beside, alone, self.interaction.times(factor))


class Belief(Protocol):
    """What a method knows of a score beyond single values."""

    def pairs(self, groups: Sequence[IntArray], shown: float) -> list[list[Pair | None]]:
        """[G, G]: what each of G disjoint groups of superpixels does beside each other.

        Every superpixel of neither is shown with probability ``shown``; None of a group and itself.
        """
        ...

    def banzhaf(self, shown: float) -> tuple[FloatArray, FloatArray]:
        """[S] what each superpixel does while every other is shown with a probability, and errors.

        The errors are standard errors.
        """
        ...

    def removed(self) -> list[IntArray]:
        """Groups of superpixels without which the image as it is was scored on purpose."""
        ...

    def removals(self, groups: Sequence[IntArray]) -> list[Estimate]:
        """What the score of the image as it is loses without each group of superpixels.

        Without error where that image was scored.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Signed importance of each superpixel for one target. Positive supports, negative hurts.

    Attributes:
        target: what is explained.
        segments: [h, w] int32 in 0..S-1, on the network input's grid.
        values: [S] float32, the sum over the pixels of the superpixel; of a method that works
            on pixels the sums of ``pixels``.
        standard_errors: [S] float32 of ``values``; NaN where the method gives none.
        score: the target's value on the image, in the method's own unit (see ``parameters``).
        baseline_score: the same on the reference image.
        method: name in the registry.
        parameters: what the method was called with; part of the content key.
        pixels: [h, w] float32, the map of a method that works on pixels, signed, on the same
            grid; None where a superpixel is the smallest part that the method knows.
        notes: what a reader of the map must know, such as an assumption that does not hold.
        region_values: [S] float32, signed as ``values``: what regions are made of where the
            method knows better for that than ``values``; else None.
        region_errors: [S] float32, standard errors of ``region_values``; None with them.
        belief: of a method that knows what superpixels do together; else None. It is not stored.
    """

    target: ScoreTarget
    segments: npt.NDArray[np.int32]
    values: FloatArray
    standard_errors: FloatArray
    score: float
    baseline_score: float
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pixels: FloatArray | None = None
    notes: tuple[str, ...] = ()
    region_values: FloatArray | None = None
    region_errors: FloatArray | None = None
    belief: Belief | None = None

    def __post_init__(self) -> None:
        if self.pixels is not None and self.pixels.shape != self.segments.shape:
            raise ValueError(
                f"pixels {self.pixels.shape} and segments {self.segments.shape} differ in shape"
            )
        if self.values.shape != self.standard_errors.shape or self.values.ndim != 1:
            raise ValueError(
                f"values {self.values.shape} and standard errors {self.standard_errors.shape} "
                "must both have shape [S]"
            )
        given = [a for a in (self.region_values, self.region_errors) if a is not None]
        if len(given) == 1 or any(array.shape != self.values.shape for array in given):
            raise ValueError("region_values and region_errors come together, [S] both")

    def for_regions(self) -> tuple[FloatArray, FloatArray]:
        """Values [S] and standard errors [S] that regions are made of."""
        if self.region_values is None or self.region_errors is None:
            return self.values, self.standard_errors
        return self.region_values, self.region_errors

    def pixel_map(self) -> FloatArray:
        """[h, w] float32: the method's own map, or each pixel with its superpixel's value."""
        return self.values[self.segments] if self.pixels is None else self.pixels

    def region_map(self) -> FloatArray:
        """[h, w] float32: the same of the values that regions are made of, for pictures."""
        return self.for_regions()[0][self.segments] if self.pixels is None else self.pixels

    @property
    def completeness_error(self) -> float:
        """Sum of the values minus (score - baseline score); 0 for an exact Shapley value."""
        return float(self.values.sum(dtype=np.float64)) - (self.score - self.baseline_score)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A connected group of superpixels.

    Attributes:
        mask: [h, w] bool on the network input's grid.
        ring: [h, w] bool, the superpixels that touch the mask, without it.
        weight: share of the image's harmful mass, in (0, 1].
        value: summed values, those that regions are made of.
        segments: the superpixels of the mask.
        box_xyxy: bounding box of the mask in px of the original image.
        only_with: the place, in the same list, of the region without which this one does no harm;
            None where it does by itself, or nobody knows.
    """

    mask: BoolArray
    ring: BoolArray
    weight: float
    value: float
    segments: tuple[int, ...]
    box_xyxy: Box
    only_with: int | None = None
