"""The regions that made a detection wrong, and which of them hurt only beside another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from curation import superpixels
from curation.kernel.types import Attribution, Box, Pair, Region
from curation.regions import RegionRules, harmful_regions, region_of

SHARE_ALONE = 0.25
"""A region that keeps less of its harm than this once another is gone hurts only beside that one.
The prior of the process draws what no mask has tried towards no interaction: half would take in
what merely hurts more beside another."""
SHOWN = 0.75
"""How likely all others are shown: the share that regions are cut by (``GPShap.region_share``)."""


TRIED = 3
"""So many of the :func:`candidates` are removed before any is named first."""
WIDER_Z, WIDER_SHARE = 1.0, 0.05
"""How certain and how strong a superpixel of the wider candidate is: several that do a little each
often do more together than the one that is certain."""
WIDEST_SHARE = 0.2
"""Of all superpixels: a wider candidate than this is none. A fifth of the image explains little,
however much its removal changes."""
MORE_SHARES = (0.9, 1.0)
"""Where none of them helps, others are cut from what superpixels do while more is shown, nearer to
the image as it is."""
ANYWHERE = 2
"""So many are cut wherever they lie: what hurts may stand far from the object."""
FURTHER = 3
"""And so many more near it, each without the superpixels of those before it."""


def hurting_regions(
    attribution: Attribution,
    hurts_positive: bool,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    focus_box: Box | None = None,
) -> list[Region]:
    """The regions of :func:`~curation.regions.harmful_regions`, the one first that helps most.

    Arguments are those there. Where the method knows more of the score than single values, the
    first is the one of the :func:`candidates` without which the image as it is was seen to gain
    most, which may lie far from the object. Those without which it was seen to be no better stand
    last: what hurts on average over masked images need not hurt in this one. ``only_with`` then
    says which hurt only beside others.
    """
    regions = named(attribution, hurts_positive, image_size_wh, rules, focus_box)
    if attribution.belief is None or len(regions) < 2:
        return regions
    groups = [np.array(region.segments, np.int64) for region in regions]
    sign = 1.0 if hurts_positive else -1.0
    table = attribution.belief.pairs(groups, SHOWN)
    return [
        replace(region, only_with=_partner(row, sign, rules.z))
        for region, row in zip(regions, table, strict=True)
    ]


def named(
    attribution: Attribution,
    hurts_positive: bool,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    focus_box: Box | None = None,
) -> list[Region]:
    """Disjoint regions in the order in which they are named; arguments as above."""
    asked = attribution, hurts_positive, image_size_wh, rules, focus_box
    regions = helpful_first(attribution, hurts_positive, harmful_regions(*asked))
    if attribution.belief is None or not regions:
        return regions
    first = _first(*asked)
    if first is None or first.segments == regions[0].segments:
        return regions
    apart = [one for one in regions if set(one.segments).isdisjoint(first.segments)]
    return _weighed(attribution, hurts_positive, [first, *apart][: rules.max_regions])


def candidates(
    attribution: Attribution,
    hurts_positive: bool,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    focus_box: Box | None = None,
) -> Iterator[Region]:
    """What may be named first, the likeliest first; arguments as above, with a belief.

    The heaviest near the object, the heaviest of the whole image, and the heaviest there where
    superpixels count that do less (:data:`WIDER_SHARE`); then the others near the object, the
    heaviest where more of the image is shown (:data:`MORE_SHARES`), the next of the whole image,
    and what is left near the object without the superpixels of all these. Each comes once.
    """
    assert attribution.belief is not None
    more = hurts_positive, image_size_wh, rules, focus_box
    come: set[tuple[int, ...]] = set()

    def new(found: Sequence[Region]) -> Iterator[Region]:
        for region in found:
            if region.segments not in come:
                come.add(region.segments)
                yield region

    near = harmful_regions(attribution, *more)
    everywhere = harmful_regions(attribution, hurts_positive, image_size_wh, rules)
    yield from new(near[:1])
    yield from new(everywhere[:1])
    wider = replace(
        rules,
        z=min(rules.z, WIDER_Z),
        min_share_of_peak=min(rules.min_share_of_peak, WIDER_SHARE),
    )
    most = WIDEST_SHARE * len(attribution.values)
    widest = harmful_regions(attribution, hurts_positive, image_size_wh, wider)[:1]
    yield from new([region for region in widest if len(region.segments) <= most])
    yield from new(near)
    for share in MORE_SHARES:
        values, errors = attribution.belief.banzhaf(share)
        seen = replace(attribution, region_values=values, region_errors=errors)
        yield from new(harmful_regions(seen, *more)[:1])
    yield from new(everywhere[:ANYWHERE])
    values, errors = attribution.for_regions()
    for _ in range(FURTHER):
        values = values.copy()
        values[[member for segments in come for member in segments]] = 0
        seen = replace(attribution, region_values=values, region_errors=errors)
        yield from new(harmful_regions(seen, *more)[:1])


def _first(
    attribution: Attribution,
    hurts_positive: bool,
    image_size_wh: tuple[int, int],
    rules: RegionRules,
    focus_box: Box | None,
) -> Region | None:
    """The candidate whose removal gains most, None where all were removed in vain.

    Of those that were removed, and the likeliest of the others: its gain is a guess, which may be
    better than what a mask happens to tell of some region that does hardly anything.
    """
    every = [
        _as_removed(attribution, hurts_positive, one, image_size_wh)
        for one in candidates(attribution, hurts_positive, image_size_wh, rules, focus_box)
    ]
    told = gains(attribution, hurts_positive, every)
    hopeful = [row for row, (gain, error) in enumerate(told) if gain + error > 0]
    compared = [row for row in hopeful if told[row][1] == 0 or row == hopeful[0]]
    best = max(compared, key=lambda row: told[row][0], default=None)  # of equal ones the first
    return None if best is None else every[best]


def _weighed(
    attribution: Attribution, hurts_positive: bool, regions: Sequence[Region]
) -> list[Region]:
    """Regions that were cut by several rules, each with its share of what all of them do.

    The first counts as much as any other at least: its removal does most, whatever its values say.
    """
    values, _ = attribution.for_regions()
    harm = np.maximum(values if hurts_positive else -values, 0)
    each = [float(harm[list(region.segments)].sum()) for region in regions]
    each[0] = max(each) or 1.0
    total = sum(each)
    return [replace(region, weight=own / total) for region, own in zip(regions, each, strict=True)]


def _as_removed(
    attribution: Attribution, hurts_positive: bool, region: Region, image_size_wh: tuple[int, int]
) -> Region:
    """What was removed with gain in the place of a region that was not removed itself.

    Removed regions were cut about the default box, named ones are about the object, which lies a
    little beside it: what is named first is to be what was seen to help. Of several that share
    superpixels with the region, the one that shares most; the region itself where there is none.
    """
    belief, own = attribution.belief, np.array(region.segments, np.int64)
    assert belief is not None
    if belief.removals([own])[0].error == 0:
        return region
    groups = [group for group in belief.removed() if np.isin(own, group).any()]
    sign = 1.0 if hurts_positive else -1.0
    gains = [sign * removal.value for removal in belief.removals(groups)]
    shared = [
        (int(np.isin(own, group).sum()), gain, place)
        for place, (group, gain) in enumerate(zip(groups, gains, strict=True))
        if gain > 0
    ]
    if not shared:
        return region
    touching = superpixels.neighbours(attribution.segments)
    return region_of(attribution, groups[max(shared)[2]], touching, region.weight, image_size_wh)


def in_vain(attribution: Attribution, hurts_positive: bool, region: Region) -> bool:
    """Whether the image as it is was seen to be no better without a region, or nearly so.

    A region that was not removed itself counts as in vain where what was seen of others leaves it
    one standard error below zero; False where the method knows nothing but values.
    """
    if attribution.belief is None:
        return False
    ((gain, error),) = gains(attribution, hurts_positive, [region])
    return gain + error <= 0


def gains(
    attribution: Attribution, hurts_positive: bool, regions: Sequence[Region]
) -> list[tuple[float, float]]:
    """What the image as it is gains without each, and the error of that, 0 where it was seen.

    In the unit of the score; needs a belief. For a false detection less of the score is the gain.
    """
    assert attribution.belief is not None
    sign = 1.0 if hurts_positive else -1.0
    removals = attribution.belief.removals([np.array(one.segments, np.int64) for one in regions])
    return [(sign * one.value, one.error) for one in removals]


def helpful_first(
    attribution: Attribution, hurts_positive: bool, regions: Sequence[Region]
) -> list[Region]:
    """Regions in their order, but those that are removed in vain behind all others."""
    return sorted(regions, key=lambda one: in_vain(attribution, hurts_positive, one))  # stable


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
