"""From an attribution to the regions that hurt: connected, weighted, with their neighbourhood.

Read :func:`harmful_regions`. :func:`control_regions` makes the regions that an experiment
compares them with.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from curation import superpixels
from curation.kernel.types import Attribution, BoolArray, Box, FloatArray, IntArray, Region


@dataclass(frozen=True, slots=True)
class RegionRules:
    """Which superpixels make a region.

    Attributes:
        max_regions: the heaviest are kept.
        z: a superpixel counts if its harm exceeds this many standard errors; where the method
            gives none, every harm counts.
        min_share_of_peak: and if it reaches this share of the strongest harm, so that a faint
            but certain background does not join everything into one region.
        min_weight: lighter regions are dropped, the heaviest never.
        focus_scale: superpixels count if their centre lies in the object's box, scaled by this
            about its centre; 2 is a window of four times the area. Infinity for no window.
        focus_min_share: the window spans at least this share of each side of the image, since
            what hides a small object is often beside it.
        away_z: outside of the window a superpixel counts too, if its harm exceeds this many
            standard errors, which at 3.3 the largest error of a hundred superpixels does once in
            ten images; where the method gives none, no other counts. Infinity for the window alone.
        away_share: and if it reaches this share of the strongest harm in the window.
    """

    max_regions: int = 4
    z: float = 2.0
    min_share_of_peak: float = 0.1
    min_weight: float = 0.05
    focus_scale: float = 2.0
    focus_min_share: float = 0.25
    away_z: float = float("inf")
    away_share: float = 1.0

    def __post_init__(self) -> None:
        if self.max_regions < 1 or self.focus_scale < 1:
            raise ValueError("max_regions and focus_scale must be at least 1")


class Control(StrEnum):
    """What harmful regions are compared with."""

    RANDOM = "random"
    """As many connected groups of as many superpixels, anywhere in the image."""
    POSITIVE = "positive"
    """The regions of the opposite sign."""
    BOX = "box"
    """The object itself."""


def harmful_regions(
    attribution: Attribution,
    failure_hurts_positive: bool,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    focus_box: Box | None = None,
) -> list[Region]:
    """The connected groups of superpixels that made the detection wrong.

    Args:
        attribution: of the failed target; its ``region_values`` where it has them.
        failure_hurts_positive: True for a false positive, where the harm is what supports the
            score; False where the harm is what lowers it.
        image_size_wh: (W, H) of the original image, for the boxes of the regions.
        rules: see :class:`RegionRules`. If no harm passes them, the strongest superpixel does;
            if none of the window does harm, the window is lifted. What is certain to do as much
            harm elsewhere counts beside the window.
        focus_box: the object, px of the original image; None for no window.

    Returns:
        Regions by falling weight. Weights are shares of the harm that passed the rules, and sum
        to 1 if none was dropped. Empty if no superpixel does harm.
    """
    values, errors = attribution.for_regions()  # [S], [S]
    harm = values if failure_hurts_positive else -values  # [S]
    counts = _window(attribution, image_size_wh, rules, focus_box, harm, errors)  # [S]
    harm = np.where(counts, harm, 0)
    if not (harm > 0).any():
        return []
    members = _members(harm, errors, rules)  # [S]
    touching = superpixels.neighbours(attribution.segments)  # [S, S]
    total = float(harm[members].sum())
    regions = [
        region_of(attribution, group, touching, float(harm[group].sum()) / total, image_size_wh)
        for group in _connected(members, touching)
    ]
    regions.sort(key=lambda region: (-region.weight, region.segments))
    heavy = [region for region in regions if region.weight >= rules.min_weight]
    return (heavy or regions[:1])[: rules.max_regions]


def control_regions(
    attribution: Attribution,
    regions: list[Region],
    control: Control,
    failure_hurts_positive: bool,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    box_xyxy: Box,
    rng: np.random.Generator,
) -> list[Region]:
    """What an experiment puts in the place of the harmful regions.

    Args:
        attribution: the regions come from it.
        regions: the harmful ones; random ones take their number, sizes and weights.
        control: which control.
        failure_hurts_positive: as for the harmful regions; the control "positive" inverts it.
        image_size_wh: (W, H) of the original image.
        rules: as for the harmful regions.
        box_xyxy: the object, px of the original image.
        rng: for "random".

    Returns:
        Regions by falling weight. "random" avoids the harmful superpixels while others are left.
    """
    if control is Control.POSITIVE:
        return harmful_regions(
            attribution, not failure_hurts_positive, image_size_wh, rules, box_xyxy
        )
    touching = superpixels.neighbours(attribution.segments)
    if control is Control.BOX:
        members = _inside(attribution, box_xyxy, image_size_wh)
        return [region_of(attribution, members, touching, 1.0, image_size_wh)]
    taken = np.zeros(len(attribution.values), np.bool_)
    for region in regions:
        taken[list(region.segments)] = True
    return [
        region_of(
            attribution,
            _grow(len(region.segments), taken, touching, rng),
            touching,
            region.weight,
            image_size_wh,
        )
        for region in regions
    ]


def _members(harm: FloatArray, errors: FloatArray, rules: RegionRules) -> BoolArray:
    significant = harm > np.where(np.isfinite(errors), rules.z * errors, 0)  # [S]
    members: BoolArray = significant & (harm > 0) & (harm >= rules.min_share_of_peak * harm.max())
    if not members.any():
        members[int(harm.argmax())] = True
    return members


def _window(
    attribution: Attribution,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    focus_box: Box | None,
    harm: FloatArray,
    errors: FloatArray,
) -> BoolArray:
    """[S] bool: superpixels that may count."""
    everywhere = np.ones(len(harm), np.bool_)
    if focus_box is None or not np.isfinite(rules.focus_scale):
        return everywhere
    size = np.array(image_size_wh, np.float64)
    corners = np.array(focus_box, np.float64).reshape(2, 2)
    centre = corners.mean(axis=0)
    half = np.maximum((corners[1] - corners[0]) * rules.focus_scale, size * rules.focus_min_share)
    height, width = attribution.segments.shape
    centres = superpixels.centroids_xy(attribution.segments) * size / (width, height)  # [S, 2]
    inside: BoolArray = (np.abs(centres - centre) <= half / 2).all(axis=1)
    if not (harm[inside] > 0).any():
        return everywhere
    if not np.isfinite(rules.away_z):
        return inside
    certain = np.isfinite(errors) & (harm > rules.away_z * errors)
    away: BoolArray = certain & (harm >= rules.away_share * harm[inside].max())
    return inside | away


def _connected(members: BoolArray, touching: BoolArray) -> list[IntArray]:
    """The connected groups of members, each as sorted segment numbers."""
    rows = np.flatnonzero(members)
    among = csr_array(touching[np.ix_(rows, rows)])
    num_groups, group = connected_components(among, directed=False)
    return [rows[group == index] for index in range(num_groups)]


def region_of(
    attribution: Attribution,
    members: IntArray,
    touching: BoolArray,
    weight: float,
    image_size_wh: tuple[int, int],
) -> Region:
    """A region of given superpixels.

    Args:
        attribution: of the target; the region's value is the sum of its own.
        members: numbers of the superpixels.
        touching: [S, S] which lie beside each other.
        weight: of the region, 0..1.
        image_size_wh: (W, H) of the original image.
    """
    selected = np.zeros(len(attribution.values), np.bool_)
    selected[members] = True
    mask = selected[attribution.segments]  # [h, w]
    return Region(
        mask=mask,
        ring=superpixels.ring(selected, touching)[attribution.segments],
        weight=min(1.0, weight),
        value=float(attribution.for_regions()[0][members].sum()),
        segments=tuple(int(member) for member in members),
        box_xyxy=_mask_box(mask, image_size_wh),
    )


def _mask_box(mask: BoolArray, image_size_wh: tuple[int, int]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = image_size_wh[0] / mask.shape[1], image_size_wh[1] / mask.shape[0]
    return (
        float(columns[0] * x),
        float(rows[0] * y),
        float((columns[-1] + 1) * x),
        float((rows[-1] + 1) * y),
    )


def _inside(attribution: Attribution, box: Box, image_size_wh: tuple[int, int]) -> IntArray:
    """Superpixels that lie in a box by half of their pixels, or the one that does most."""
    height, width = attribution.segments.shape
    x = (np.arange(width) + 0.5) * image_size_wh[0] / width
    y = (np.arange(height) + 0.5) * image_size_wh[1] / height
    columns, rows = (x >= box[0]) & (x < box[2]), (y >= box[1]) & (y < box[3])
    area = superpixels.areas(attribution.segments)
    pixels = attribution.segments[np.ix_(rows, columns)].ravel()
    if not pixels.size:  # smaller than a pixel of the grid: the superpixel at its centre
        column = int(np.abs(x - (box[0] + box[2]) / 2).argmin())
        row = int(np.abs(y - (box[1] + box[3]) / 2).argmin())
        return np.array([attribution.segments[row, column]], np.int64)
    share = np.bincount(pixels, minlength=len(area)) / area  # [S]
    return np.flatnonzero(share >= min(0.5, share.max()))


def _grow(size: int, taken: BoolArray, touching: BoolArray, rng: np.random.Generator) -> IntArray:
    """A connected group of up to ``size`` superpixels, grown at random; marks it taken."""
    free = ~taken if not taken.all() else np.ones_like(taken)
    group = np.zeros_like(taken)
    group[rng.choice(np.flatnonzero(free))] = True
    while group.sum() < size:
        border = np.flatnonzero(superpixels.ring(group, touching) & free)
        if not len(border):
            break
        group[rng.choice(border)] = True
    taken |= group
    return np.flatnonzero(group)
