"""The decision of a selection: what to look at, and what to ask for. Pure, for everybody who asks.

The service's selection, its plan and the benchmark of the loop call these functions, so that what
is measured is what is shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np

from curation.modes import FailureEvidence, Mode
from curation.select.base import (
    Candidate,
    ModeQuery,
    Need,
    Policy,
    PoolImage,
    RegionSearch,
    SelectionRequest,
)

SHORTLIST, PER_BOX = 50, 1
"""Images a mode that are looked at more closely: at least, and for each box of the budget.

Chosen on the street world, where fewer find fewer useful images and more find no more of them.
"""
GROWTH = 4
"""By which a shortlist grows that cannot spend the budget."""


def queries_of(
    modes: Sequence[Mode], known: Sequence[FailureEvidence], fixed: Collection[str] = ()
) -> list[ModeQuery]:
    """The modes as searches, without those that are fixed.

    Args:
        modes: of the champion.
        known: the evidence that they were made of.
        fixed: keys of modes that ask for nothing.
    """
    return [
        ModeQuery(
            mode=mode.key,
            kind=mode.kind,
            label=mode.label,
            vectors=mode.vectors,
            weights=mode.weights,
            object_vector=mode.object_vector,
            whole=mode.whole,
            size=mode.weight,
            objects=np.stack(
                [item.object_vector for item in known if item.failure in mode.members]
            ),
        )
        for mode in modes
        if mode.key not in fixed
    ]


def most_looked_at(num_modes: int, budget_boxes: int, grown: int = 0) -> int:
    """Images of a shortlist at most: modes may propose the same.

    Args:
        num_modes: that are not fixed.
        budget_boxes: that will be spent.
        grown: how often it was too short to spend the budget.
    """
    most: int = num_modes * (SHORTLIST + PER_BOX * budget_boxes) * GROWTH**grown
    return most


def shortlist(
    queries: Sequence[ModeQuery],
    index: RegionSearch,
    budget_boxes: int,
    excluded: Collection[str] = (),
    grown: int = 0,
) -> frozenset[str]:
    """Images of which some region is like the objects of a mode: the ones worth a closer look.

    How many depends on the number of modes and the budget, not on the size of the pool.

    Args:
        queries: the modes.
        index: regions of the pool.
        budget_boxes: that will be spent.
        excluded: images that cannot be chosen, such as those that earlier cycles asked for, which
            are the nearest to what asked for them; they take nobody's place.
        grown: how often it was too short to spend the budget.
    """
    vectors = [query.object_vector for query in queries if query.object_vector is not None]
    if not vectors:
        return frozenset()
    count = most_looked_at(1, budget_boxes, grown)
    found = index.score_images(np.stack(vectors), max(1000, 2 * count), excluded)
    best = np.argsort(-found.similarities, axis=1, kind="stable")[:, :count]
    return frozenset(found.images[column] for column in np.unique(best))


def decide(
    policy: Policy,
    request: SelectionRequest,
    lost: Callable[[Iterable[str]], Collection[str]] = lambda _images: (),
) -> list[Candidate]:
    """What a policy chooses among the images that can be read.

    Nobody looked at an image without detections, so that it may be unreadable. To open every one
    takes too long; it is done for what is chosen, and where that fails, the policy chooses again.

    Args:
        policy: see there; it is handed what it declares, and no more.
        request: its random generator is left as it was.
        lost: those of some images that cannot be read; asked about chosen ones.

    Raises:
        BudgetTooSmall: no eligible image fits the budget.
    """
    request = declared(policy.needs, request)
    while True:
        chosen = policy.select(replace(request, rng=deepcopy(request.rng)))
        unseen = {image.image for image in request.pool if image.detections is None}
        gone = lost([one.image for one in chosen if one.image in unseen])
        if not gone:
            return chosen
        request = replace(request, pool=[one for one in request.pool if one.image not in gone])


def declared(needs: Collection[Need], request: SelectionRequest) -> SelectionRequest:
    """A request without what is not among a policy's needs."""
    vectors, objects = Need.VECTORS in needs, Need.OBJECTS in needs

    def without(image: PoolImage) -> PoolImage:
        if (vectors or image.vector is None) and (objects or image.rois is None):
            return image  # a copy of each of a million takes a second
        return replace(
            image,
            vector=image.vector if vectors else None,
            rois=image.rois if objects else None,
        )

    return replace(
        request,
        pool=[without(image) for image in request.pool],
        index=request.index if Need.REGIONS in needs else None,
        labelled=request.labelled if Need.VECTORS in needs else None,
        difficulty=request.difficulty if Need.DIFFICULTY in needs else None,
    )
