"""How faithful a map is: agreement with a reference, with the detector, and with a known cause.

Comparisons of two maps come first, then curves of the score as segments are taken away or put
back (:func:`order_curve`), then maps against a mask. :func:`bootstrap` says how sure a mean is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.stats import rankdata

from curation import superpixels
from curation.explain.base import masked_scores
from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, IntArray, ScoreTarget
from curation.superpixels import SegmentArray

DoubleArray: TypeAlias = npt.NDArray[np.float64]
Values: TypeAlias = FloatArray | DoubleArray
Order: TypeAlias = Literal["deletion", "insertion"]


class Interval(NamedTuple):
    """A mean and its percentile interval."""

    mean: float
    low: float
    high: float


def pearson(one: Values, two: Values) -> float:
    """Pearson correlation of two maps of one shape, in -1..1; NaN where one is constant."""
    a, b = (np.asarray(side, np.float64).ravel() for side in (one, two))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def spearman(one: Values, two: Values) -> float:
    """Pearson correlation of the ranks, ties at their mean rank; NaN where one is constant."""
    return pearson(rankdata(one), rankdata(two))


def sign_agreement(
    values: Values, reference: Values, top: int = 5, among: BoolArray | None = None
) -> float:
    """Share of the reference's most negative segments that are negative in ``values`` too.

    Args:
        values: [S].
        reference: [S].
        top: how many of the reference's segments count, the most negative first.
        among: [S], those that may count; None for all.

    Returns:
        in 0..1; NaN where the reference has no negative segment.
    """
    truth = np.asarray(reference, np.float64)
    order = np.argsort(truth, kind="stable")
    worst = order[(truth < 0 if among is None else (truth < 0) & among)[order]][:top]
    return float((np.asarray(values, np.float64)[worst] < 0).mean()) if len(worst) else float("nan")


def that_matter(reference: Values, errors: Values, z: float = 2.0) -> BoolArray:
    """[S] bool: segments whose converged value [S] exceeds ``z`` of its own standard errors [S].

    The order and the signs of the others are the reference's noise, which nothing can agree with.
    """
    size = np.abs(np.asarray(reference, np.float64))
    matter: BoolArray = size > z * np.asarray(errors, np.float64)
    return matter


def heaviest(reference: Values, share: float = 0.9) -> BoolArray:
    """[S] bool: the fewest segments that hold a share of the sum of the absolute values [S]."""
    size = np.abs(np.asarray(reference, np.float64))
    order = np.argsort(-size, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(size[order])[:-1]])
    kept = np.zeros(len(size), np.bool_)
    kept[order[before < share * size.sum()]] = True
    return kept


def spearman_of(values: Values, reference: Values, chosen: BoolArray) -> float:
    """Spearman correlation over the chosen segments [S]; NaN where they are fewer than three."""
    if chosen.sum() < 3:
        return float("nan")
    one, two = (np.asarray(side, np.float64)[chosen] for side in (values, reference))
    return spearman(one, two)


def worst_overlap(values: Values, reference: Values, top: int = 5) -> float:
    """Share of the reference's most negative segments that are among as many of ``values``.

    Args:
        values: [S].
        reference: [S].
        top: how many of the reference's segments count, those below zero alone.

    Returns:
        in 0..1; NaN where the reference has no negative segment.
    """
    truth = np.asarray(reference, np.float64)
    worst = np.argsort(truth, kind="stable")[: min(top, int((truth < 0).sum()))]
    found = np.argsort(np.asarray(values, np.float64), kind="stable")[: len(worst)]
    return float(np.isin(worst, found).mean()) if len(worst) else float("nan")


def order_curve(
    detector: Detector,
    image: ImageArray,
    target: ScoreTarget,
    segments: SegmentArray,
    values: Values,
    kind: ScoreKind,
    order: Order = "deletion",
) -> tuple[DoubleArray, DoubleArray]:
    """The target's score as segments go in the order of a map, the default box fixed.

    Args:
        detector: scores the target.
        image: [H, W, 3] uint8.
        target: what is explained; costs S + 1 forward rows.
        segments: [h, w] in 0..S-1.
        values: [S]; the segment of the largest value goes first.
        kind: unit of the score.
        order: "deletion" sets segments of the image to the mean colour, "insertion" puts
            segments into the image of mean colour.

    Returns:
        Shares [S + 1] in 0..1 of the pixels that are changed, and scores [S + 1].

    Source:
        Petsiuk et al., 2018, by segments instead of pixels, as methods on superpixels allow.
    """
    weights, shares = order_weights(segments, values, order)
    inputs = detector.preprocess([image])
    scores = masked_scores(detector, inputs, segments, weights, [target], kind)[:, 0]
    return shares, scores.astype(np.float64)


def order_weights(
    segments: SegmentArray, values: Values, order: Order
) -> tuple[FloatArray, DoubleArray]:
    """Masks [S + 1, S] of 0 and 1 along the curve, and shares [S + 1] of changed pixels."""
    first = np.argsort(-np.asarray(values, np.float64), kind="stable")  # [S]
    position = np.empty_like(first)
    position[first] = np.arange(len(first))
    changed = position[None, :] < np.arange(len(first) + 1)[:, None]  # [S + 1, S]
    area = superpixels.areas(segments)[first]
    shares = np.concatenate([[0.0], np.cumsum(area) / area.sum()])
    weights = changed if order == "insertion" else ~changed
    return weights.astype(np.float32), shares


def area_under(shares: DoubleArray, scores: DoubleArray) -> float:
    """Trapezoid area under scores [N] over shares [N] that rise from 0 to 1."""
    return float(((scores[1:] + scores[:-1]) / 2 * np.diff(shares)).sum())


def detected_scores(
    detector: Detector,
    image: ImageArray,
    box_xyxy: Box,
    label: int,
    segments: SegmentArray,
    weights: FloatArray,
    iou_threshold: float = 0.5,
) -> DoubleArray:
    """What a user would see of an object: suppression runs anew on every masked image.

    Args:
        detector: finds objects.
        image: [H, W, 3] uint8.
        box_xyxy: the object, px of the image.
        label: its class.
        segments: [h, w] in 0..S-1 on the detector's input grid.
        weights: [N, S], 0 sets a segment to the mean colour (rounded to 8 bits), 1 keeps it.
        iou_threshold: overlap with the box from which a detection of the class counts.

    Returns:
        [N] highest score of such a detection, 0 where there is none.
    """
    height, width = detector.input_size_hw
    colour = mean_colour(detector)
    # nearest neighbour on the original image: the detector warps it by itself
    rows = (np.arange(image.shape[0]) * height) // image.shape[0]
    columns = (np.arange(image.shape[1]) * width) // image.shape[1]
    labels = segments[np.ix_(rows, columns)]  # [H, W]
    found = np.zeros(len(weights))
    for index, row in enumerate(weights):
        keep = row[labels][:, :, None]  # [H, W, 1]
        masked = np.round(keep * image + (1 - keep) * colour).astype(np.uint8)
        seen = detector.predict([masked])[0]
        overlap = pairwise_iou(seen.boxes_xyxy, np.array([box_xyxy], np.float32))[:, 0]
        counts = (seen.labels == label) & (overlap >= iou_threshold)
        found[index] = seen.scores[counts].max(initial=0)
    return found


def mean_colour(detector: Detector) -> DoubleArray:
    """[3] colour in 0..255 that preprocessing turns into zero: the reference of a masked part."""
    black, white = (
        detector.preprocess([np.full((8, 8, 3), level, np.uint8)])[0].mean(dim=(1, 2))
        for level in (0, 255)
    )
    colour: DoubleArray = (-255 * black / (white - black)).double().cpu().numpy()
    return colour


def most_negative(values: Values, harmful_is_positive: bool = False) -> int:
    """The segment that does most harm: for a false positive the one that supports it most."""
    return int(np.argmax(values) if harmful_is_positive else np.argmin(values))


def inner_point(segments: SegmentArray, members: IntArray | Sequence[int]) -> tuple[int, int]:
    """Row and column of the pixel deepest inside a group of segments."""
    inside = np.isin(segments, np.asarray(members))
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), inside.shape)
    return int(row), int(column)


def pointing_hit(point: tuple[int, int], mask: BoolArray, tolerance_px: float = 0.0) -> bool:
    """Whether a point (row, column) lies in a mask [h, w] or within a distance of it.

    Source:
        Pointing game, Zhang et al., 2016: 15 px on images of about 500 px.
    """
    if not mask.any():
        return False
    return bool(distance_transform_edt(~mask)[point] <= tolerance_px)


def mask_iou(heat: Values, mask: BoolArray, thresholds: int = 20) -> float:
    """Overlap of a heat map with a mask, averaged over thresholds.

    Args:
        heat: [h, w]; what is not positive never counts.
        mask: [h, w] of the part that must be found.
        thresholds: how many, evenly between 0 and the largest value, both ends left out.

    Returns:
        in 0..1; 0 for a map without positive values.

    Source:
        The an8Flower protocol of VEBI (Oramas et al., 2019).
    """
    peak = float(np.max(heat))
    if peak <= 0:
        return 0.0
    overlaps = []
    for level in np.arange(1, thresholds + 1) / (thresholds + 1):
        chosen = heat > level * peak
        union = int((chosen | mask).sum())
        overlaps.append(int((chosen & mask).sum()) / union if union else 0.0)
    return float(np.mean(overlaps))


def bootstrap(
    values: Sequence[float] | Values,
    groups: Sequence[str] | IntArray,
    rng: np.random.Generator,
    rounds: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Mean of values and its percentile interval, whole groups drawn with replacement.

    For a paired difference give the differences. Detections of one image share image, segments
    and samples, so an image is a group.

    Args:
        values: [N]; NaNs are left out.
        groups: [N] names of the groups.
        rng: source of the draws.
        rounds: how many draws.
        confidence: of the interval, in 0..1.

    Returns:
        NaNs where no value is left; from a single group a mean without interval.
    """
    numbers = np.asarray(values, np.float64)
    kept = np.isfinite(numbers)
    numbers, names = numbers[kept], np.asarray(groups)[kept]
    present, index = np.unique(names, return_inverse=True)
    if len(present) < 2:
        mean = float(numbers.mean()) if len(numbers) else float("nan")
        return Interval(mean, float("nan"), float("nan"))
    count = np.bincount(index).astype(np.float64)  # [G]
    total = np.bincount(index, numbers)  # [G]
    drawn = rng.integers(0, len(count), (rounds, len(count)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(numbers.mean()), float(low), float(high))
