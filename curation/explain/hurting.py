"""The regions that made a detection wrong, and which of them hurt only beside another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curation.kernel.types import Attribution, Box, Pair, Region
from curation.regions import RegionRules, harmful_regions

SHARE_ALONE = 0.25
"""A region that keeps less of its harm than this once another is gone hurts only beside that one.
The prior of the process draws what no mask has tried towards no interaction: half would take in
what merely hurts more beside another."""
SHOWN = 0.75
"""How likely all others are shown: the share that regions are cut by (``GPShap.region_share``)."""


def hurting_regions(
    attribution: Attribution,
    hurts_positive: bool,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    focus_box: Box | None = None,
) -> list[Region]:
    """The regions of :func:`~curation.regions.harmful_regions`, those removed in vain last.

    Arguments are those there. Where the method knows more of the score than single values, a region
    without which the image as it is was seen to be no better stands behind all others: what hurts
    on average over masked images need not hurt in this one. ``only_with`` then says which hurt only
    beside others.
    """
    regions = harmful_regions(attribution, hurts_positive, image_size_wh, rules, focus_box)
    if attribution.belief is None or len(regions) < 2:
        return regions
    regions = helpful_first(attribution, hurts_positive, regions)
    groups = [np.array(region.segments, np.int64) for region in regions]
    sign = 1.0 if hurts_positive else -1.0
    table = attribution.belief.pairs(groups, SHOWN)
    return [
        replace(region, only_with=_partner(row, sign, rules.z))
        for region, row in zip(regions, table, strict=True)
    ]


def helpful_first(
    attribution: Attribution, hurts_positive: bool, regions: Sequence[Region]
) -> list[Region]:
    """Regions in their order, but those that were removed in vain behind all others."""
    if attribution.belief is None:
        return list(regions)
    sign = 1.0 if hurts_positive else -1.0
    groups = [np.array(region.segments, np.int64) for region in regions]
    removals = attribution.belief.removals(groups)
    in_vain = [found.error == 0 and sign * found.value <= 0 for found in removals]
    order = sorted(range(len(regions)), key=lambda place: in_vain[place])  # stable
    return [regions[place] for place in order]


def _partner(row: Sequence[Pair | None], sign: float, z: float) -> int | None:
    """The place of the region without which this one does no harm; the strongest of several."""
    found = [
        (sign * pair.interaction.value, place)
        for place, pair in enumerate(row)
        if pair is not None
        and sign * pair.beside.value > z * pair.beside.error
        and sign * pair.interaction.value > z * pair.interaction.error
        and sign * pair.alone.value < SHARE_ALONE * sign * pair.beside.value
    ]
    return max(found)[1] if found else None
