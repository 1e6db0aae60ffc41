"""Where passes go: regions are removed before they are named, and open answers get more masks.

A region is cut from what its superpixels do on average, with many others hidden. What the image as
it is gains by its removal takes one pass to see, so several are removed, and the one that helps
most is named first (:meth:`Looked.untested`). And where the masks so far leave it open which
superpixel hurts most, more of them are asked for (:meth:`Looked.confidence`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import numpy as np

from curation.explain.belief import Posterior, believed
from curation.explain.coalition_fit import Layout
from curation.explain.hurting import TRIED, candidates, gains, named
from curation.kernel.types import Attribution, BoolArray, Box, FloatArray, Region
from curation.regions import RegionRules

RULES = RegionRules(max_regions=3)
"""So many regions near the object are among the candidates."""
_DRAWS = 512
# Kernels are fitted anew once there are so many times the masks that they were fitted to: a fit
# takes as long as some ten passes, and a few masks more change little.
_REFIT = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What is known of one detection.

    Attributes:
        attribution: with a belief.
        hurts_positive: whether what supports the score is the harm.
        image_size_wh: of the original image.
        focus_box: about which regions are cut, px of the original image.
    """

    attribution: Attribution
    hurts_positive: bool
    image_size_wh: tuple[int, int]
    focus_box: Box

    def regions(self) -> list[Region]:
        """The regions that would be named, in the order in which they would."""
        return named(*self._asked())

    def untested(self) -> list[BoolArray]:
        """[S] each: those of the first :data:`TRIED` candidates that were not removed yet."""
        first = list(islice(candidates(*self._asked()), TRIED))
        told = self._gains(first)
        return [self._members(one) for one, gain in zip(first, told, strict=True) if gain is None]

    def another(self) -> list[BoolArray]:
        """[S]: the next candidate to remove, if no removed one was seen to hurt."""
        every = list(candidates(*self._asked()))
        told = self._gains(every)
        if any(gain is not None and gain > 0 for gain in told):
            return []
        new = (one for one, gain in zip(every, told, strict=True) if gain is None)
        return [self._members(one) for one in islice(new, 1)]

    def _gains(self, regions: Sequence[Region]) -> list[float | None]:
        """What the image as it is was seen to gain without each; None of those not removed."""
        told = gains(self.attribution, self.hurts_positive, regions)
        return [None if error > 0 else gain for gain, error in told]

    def _members(self, region: Region) -> BoolArray:
        chosen = np.zeros(len(self.attribution.values), np.bool_)
        chosen[list(region.segments)] = True
        return chosen

    def _asked(self) -> tuple[Attribution, bool, tuple[int, int], RegionRules, Box]:
        return self.attribution, self.hurts_positive, self.image_size_wh, RULES, self.focus_box

    def confidence(self) -> float:
        """Probability that the superpixel that does most harm is in the region named first.

        Of normal beliefs that are taken as independent; 1 where nothing does harm.
        """
        regions = self.regions()
        if not regions:
            return 1.0
        values, errors = self.attribution.for_regions()
        harm = values if self.hurts_positive else -values
        first = np.zeros(len(harm), np.bool_)
        first[list(regions[0].segments)] = True
        strongest = int(np.where(first, harm, -np.inf).argmax())
        reach = harm[strongest] - 3 * errors[strongest]
        near = np.flatnonzero(first | (harm + 3 * errors >= reach))
        drawn = harm[near] + errors[near] * _draws(len(near))  # [D, n]
        return float(first[near[drawn.argmax(axis=1)]].mean())


def _draws(count: int) -> FloatArray:
    """[D, count] standard normal, the same for the same count."""
    return np.random.default_rng(count).standard_normal((_DRAWS, count), np.float32)


def in_turns(
    masks: FloatArray,
    scored: Callable[[FloatArray], FloatArray],
    layouts: Sequence[Layout],
    looked: Callable[[Sequence[Posterior]], Sequence[Looked]],
    most: int,
    first: int,
    certain: float,
) -> list[Posterior]:
    """Beliefs from a first block of masks, from regions removed, and from more masks.

    Args:
        masks: [N, S], of which the first are taken.
        scored: the scores [n, T] of masks [n, S].
        layouts: [T], of the superpixels as each target sees them.
        looked: what is known of every target by its belief.
        most: masks at most.
        first: masks in any case, before any region is removed.
        certain: the probability from which no more masks are asked for, once every target has it;
            above 1 all are used.
    """
    count = fitted = first - first % 2
    block = max(2, first // 4 * 2)
    scores = scored(masks[:count])
    found = [believed(masks[:count], scores[:, t], layout) for t, layout in enumerate(layouts)]
    while True:
        found = _removed(found, scored, looked, most)
        # some are kept: what more masks tell may name other regions, which are removed too
        left = max(0, most - len(found[0].masks) - TRIED * len(found))
        rows = _new(masks[count : count + min(block, left)], found[0].masks)
        if not len(rows) or _is_certain(looked(found), certain):
            return found
        count += block
        found = _added(found, rows, scored)
        if len(found[0].masks) >= _REFIT * fitted:
            fitted = len(found[0].masks)
            found = [believed(each.masks, each.scores, each.layout) for each in found]


def _removed(
    found: list[Posterior],
    scored: Callable[[FloatArray], FloatArray],
    looked: Callable[[Sequence[Posterior]], Sequence[Looked]],
    most: int,
) -> list[Posterior]:
    """Beliefs after regions were removed, those of all targets in a call, until none is left."""
    is_first = True
    while (left := most - len(found[0].masks)) > 0:
        known = looked(found)
        # the likeliest of every target before the next of any, should not all of them fit
        turns = zip_longest(*(each.untested() if is_first else each.another() for each in known))
        groups = [group for turn in turns for group in turn if group is not None]
        without = np.array([~group for group in groups], np.float32)
        rows = _new(without.reshape(-1, found[0].masks.shape[1]), found[0].masks)[:left]
        if not len(rows):
            break
        found = _added(found, rows, scored)
        # once: each removal changes a little what is cut next, and so on without an end
        is_first = False
    return found


def _added(
    found: list[Posterior], rows: FloatArray, scored: Callable[[FloatArray], FloatArray]
) -> list[Posterior]:
    scores = scored(rows)  # every row tells something of every target
    return [each.and_more(rows, scores[:, t]) for t, each in enumerate(found)]


def _is_certain(seen: Sequence[Looked], certain: float) -> bool:
    return certain <= 1 and all(each.confidence() >= certain for each in seen)


def _new(rows: FloatArray, seen: FloatArray) -> FloatArray:
    """Of masks [n, S] those that are not seen, each once."""
    known = {row.tobytes() for row in seen}
    kept = []
    for row in rows:
        if row.tobytes() not in known:
            known.add(row.tobytes())
            kept.append(row)
    return np.array(kept, np.float32).reshape(-1, seen.shape[1])
