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
    """The regions of :func:`~curation.regions.harmful_regions`, and which hurt only beside others.

    Arguments are those there. ``only_with`` is set where the method knows what superpixels do
    together.
    """
    regions = harmful_regions(attribution, hurts_positive, image_size_wh, rules, focus_box)
    if attribution.belief is None or len(regions) < 2:
        return regions
    groups = [np.array(region.segments, np.int64) for region in regions]
    table = attribution.belief.pairs(groups, SHOWN)
    sign = 1.0 if hurts_positive else -1.0
    return [
        replace(region, only_with=_partner(row, sign, rules.z))
        for region, row in zip(regions, table, strict=True)
    ]


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
