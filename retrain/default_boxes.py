"""Do default boxes fit the objects? How many have none that fits, and which boxes would fit better.

An SSD learns an object from default boxes that overlap it by half; one that no default box fits so
well is learnt from the nearest alone, and mostly missed. Overlaps are computed without the network:
of boxes of one shape on a grid the one with the nearest centre overlaps an object the most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.kernel.manifest import ManifestItem
from retrain.config import MAX_SCALE, DetectorConfig
from retrain.errors import TrainingDataInvalid

FITS = 0.5
"""Overlap from which a default box answers for an object; torchvision's SSD has the same."""
LEAST_OBJECTS = 20
MOST_OBJECTS = 4000
"""That a suggestion is fitted to; evenly picked of more."""
RATIOS = (1.3, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0)
FACTORS = (0.8, 0.9, 0.95, 1.05, 1.1, 1.25)
LEAST_STEP = 1.1
"""Between the scales of two levels: the second square of a level lies between them."""
LEAST_SCALE = 0.01
MOST_SWEEPS = 12
_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How default boxes fit the objects of a set.

    Attributes:
        objects: that count.
        unfitting: of these, how many no default box overlaps by half.
        smaller: of these, how many are smaller than the default box that overlaps them most.
        overlap: mean of the greatest overlap of each object, in 0..1.
    """

    objects: int
    unfitting: int
    smaller: int
    overlap: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Default boxes for a set of objects.

    Attributes:
        config: the detector's, with ``scales`` and ``aspect_ratios`` that fit better, or as it was.
        before: how those of now fit.
        after: how these do.
    """

    config: DetectorConfig
    before: Coverage
    after: Coverage


def coverage(config: DetectorConfig, items: Sequence[ManifestItem]) -> Coverage:
    """How a detector's default boxes fit the objects of a labelled set; ignored ones are left out.

    Raises:
        ConfigInvalid: scales or aspect ratios do not fit the number of levels.
    """
    return _coverage(config, _boxes(items))


def suggest(config: DetectorConfig, items: Sequence[ManifestItem]) -> Suggestion:
    """Scales and aspect ratios that fit the objects of a labelled set.

    Coordinate by coordinate, from the scales of now and from the range of the objects' sizes: each
    scale and each ratio is moved as long as more objects have a default box that fits, and the mean
    overlap rises. As many boxes a cell as before, so that the detector costs the same.

    Raises:
        TrainingDataInvalid: too few objects to fit anything to.
        ConfigInvalid: scales or aspect ratios do not fit the number of levels.
    """
    boxes = _boxes(items)
    if len(boxes) < LEAST_OBJECTS:
        raise TrainingDataInvalid(
            f"{len(boxes)} objects are too few to fit default boxes to: label {LEAST_OBJECTS}"
        )
    picked = boxes[
        np.linspace(0, len(boxes) - 1, min(len(boxes), MOST_OBJECTS)).round().astype(int)
    ]
    starts = [_explicit(config), _by_size(_explicit(config), picked)]
    best = max((_climbed(start, picked) for start in starts), key=lambda one: _worth(one, picked))
    best = _rounded(best)
    before = _coverage(config, boxes)
    after = _coverage(best, boxes)
    if (after.unfitting, -after.overlap) >= (before.unfitting, -before.overlap):
        return Suggestion(config, before, before)
    return Suggestion(best, before, after)


def _boxes(items: Sequence[ManifestItem]) -> _Matrix:
    """[M, 4] xyxy as shares of the image's sides."""
    rows = [
        (
            box[0] / one.width_px,
            box[1] / one.height_px,
            box[2] / one.width_px,
            box[3] / one.height_px,
        )
        for one in items
        for box, ignored in zip(one.boxes_xyxy, one.ignore, strict=True)
        if not ignored
    ]
    return np.array(rows, np.float64).reshape(-1, 4)


def _coverage(config: DetectorConfig, boxes: _Matrix) -> Coverage:
    if not len(boxes):
        return Coverage(0, 0, 0, 0.0)
    overlap, area = _best(config, boxes)
    unfit = overlap < FITS
    own = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    smaller = int((own < area)[unfit].sum())
    return Coverage(len(boxes), int(unfit.sum()), smaller, round(float(overlap.mean()), 4))


def _best(config: DetectorConfig, boxes: _Matrix) -> tuple[_Matrix, _Matrix]:
    """[M] greatest overlap with a default box, and [M] area of that box."""
    size = boxes[:, 2:] - boxes[:, :2]  # [M, 2]
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    best = np.zeros(len(boxes))
    area = np.zeros(len(boxes))
    for cells, pitch, shapes in _levels(config):
        cell = np.clip(np.round(centre / pitch - 0.5), 0, np.array(cells) - 1)
        away = np.abs((cell + 0.5) * pitch - centre)[:, None]  # [M, 1, 2]
        reach = (size[:, None] + shapes[None]) / 2 - away
        inner = np.minimum(np.minimum(size[:, None], shapes[None]), reach).clip(min=0).prod(axis=2)
        both = size.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - inner
        overlap = inner / both  # [M, n]
        which = overlap.argmax(axis=1)
        value = overlap[np.arange(len(boxes)), which]
        area = np.where(value > best, shapes.prod(axis=1)[which], area)
        best = np.maximum(best, value)
    return best, area


def _levels(config: DetectorConfig) -> Iterator[tuple[tuple[int, int], _Matrix, _Matrix]]:
    """Of each level: (columns, rows), distance of centres [2], shapes [n, 2] (w, h), as shares."""
    from retrain.ssd import default_box_generator

    cells = _cells(config.architecture, config.input_size_hw, config.reduced_tail)
    generator = default_box_generator(config, len(cells))
    height, width = config.input_size_hw
    for level, (rows, columns) in enumerate(cells):
        pitch = np.array([1 / columns, 1 / rows])
        if config.steps_px:
            pitch = config.steps_px[level] / np.array([width, height], np.float64)
        shapes = generator._wh_pairs[level].double().clamp(0, 1).numpy()
        yield (columns, rows), pitch, shapes


@lru_cache(maxsize=16)
def _cells(
    architecture: str, input_size_hw: tuple[int, int], reduced_tail: bool
) -> tuple[tuple[int, int], ...]:
    """Rows and columns of each level; a pass of an untrained backbone tells."""
    import torch

    from retrain.ssd import backbone_of

    config = DetectorConfig(
        architecture, ("background", "object"), input_size_hw, reduced_tail=reduced_tail
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        maps = backbone_of(config).eval()(torch.zeros(1, 3, *input_size_hw))
    return tuple((int(one.shape[-2]), int(one.shape[-1])) for one in maps.values())


def _explicit(config: DetectorConfig) -> DetectorConfig:
    """The same default boxes, with every scale and ratio said."""
    from retrain.ssd import default_box_generator

    levels = len(_cells(config.architecture, config.input_size_hw, config.reduced_tail))
    generator = default_box_generator(config, levels)
    return replace(
        config,
        scales=tuple(float(scale) for scale in generator.scales),
        aspect_ratios=tuple(tuple(map(float, level)) for level in generator.aspect_ratios),
    )


def _by_size(config: DetectorConfig, boxes: _Matrix) -> DetectorConfig:
    """Scales from the smallest objects to the largest, but for a few of each."""
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    low, high = (max(float(np.quantile(sides, share)), LEAST_SCALE) for share in (0.05, 0.95))
    count = len(config.scales)
    high = min(max(high, low * LEAST_STEP ** (count - 2)), MAX_SCALE / LEAST_STEP)
    low = min(low, high / LEAST_STEP ** (count - 2))
    scales = np.geomspace(low, high, count - 1)
    return replace(config, scales=(*map(float, scales), float(scales[-1] * LEAST_STEP)))


def _worth(config: DetectorConfig, boxes: _Matrix) -> float:
    """Share of the objects that have a box that fits, and their mean overlap."""
    overlap, _ = _best(config, boxes)
    return float((overlap >= FITS).mean() + overlap.mean())


def _climbed(config: DetectorConfig, boxes: _Matrix) -> DetectorConfig:
    """Moved coordinate by coordinate until nothing gains."""
    worth = _worth(config, boxes)
    for _ in range(MOST_SWEEPS):
        before = worth
        for move in _moves(config):
            other = _moved(config, *move)
            if other is not None and (value := _worth(other, boxes)) > worth + 1e-6:
                config, worth = other, value
        if worth - before < 1e-4:
            break
    return config


def _moves(config: DetectorConfig) -> Iterator[tuple[int, int, float]]:
    """Level, which ratio (-1: the scale), and the factor or the ratio."""
    for level in range(len(config.scales)):
        yield from ((level, -1, factor) for factor in FACTORS)
    for level, ratios in enumerate(config.aspect_ratios):
        yield from ((level, place, value) for place in range(len(ratios)) for value in RATIOS)


def _moved(config: DetectorConfig, level: int, place: int, value: float) -> DetectorConfig | None:
    """One coordinate changed; None where the boxes could not be told apart."""
    if place < 0:
        scales = list(config.scales)
        scales[level] *= value
        steps = np.array(scales[1:]) / np.array(scales[:-1])
        if (
            steps.min() < LEAST_STEP - 1e-9
            or not LEAST_SCALE <= scales[0] < scales[-1] <= MAX_SCALE
        ):
            return None
        return replace(config, scales=tuple(scales))
    ratios = list(config.aspect_ratios[level])
    if value in ratios:
        return None
    ratios[place] = value
    levels = list(config.aspect_ratios)
    levels[level] = tuple(ratios)
    return replace(config, aspect_ratios=tuple(levels))


def _rounded(config: DetectorConfig) -> DetectorConfig:
    """As people read and write it; ratios rising."""
    return replace(
        config,
        scales=tuple(round(scale, 4) for scale in config.scales),
        aspect_ratios=tuple(tuple(sorted(level)) for level in config.aspect_ratios),
    )
