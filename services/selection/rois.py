"""Vectors of the objects that the champion detects in the pool, for policies that compare them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from curation.kernel.errors import CurationError
from curation.kernel.types import Box
from curation.select import ModeQuery, PoolImage, RegionSearch
from services.context import Context
from services.db.engine import reading
from services.db.tables import Image
from services.store.storage import open_image

if TYPE_CHECKING:
    from curation.embedding.embed import RegionEmbedder

logger = logging.getLogger(__name__)

POLICIES = frozenset({"talisman", "ppal"})
"""Policies that need them of every image; each costs one more pass of the encoder."""
SHORTLIST, PER_BOX = 50, 1
"""Images a mode that are looked at more closely: at least, and for each box of the budget.

Measured on the street world (2000 images, 30 and 39 modes, seeds 0 and 1, the first 100 chosen,
some 250 boxes): with 10, 25 and 50 images a mode 0.65, 0.70 and 0.72 of the chosen are useful, and
no more with all. Of the chosen 97 % have been looked at with 50 a mode, all with 400.
"""
MAX_OBJECTS, MIN_SCORE = 20, 0.02


def shortlist(
    queries: Sequence[ModeQuery],
    index: RegionSearch,
    budget_boxes: int,
    excluded: Collection[str] = (),
) -> frozenset[str]:
    """Images of which some region is like the objects of a mode: the ones worth a closer look.

    Args:
        queries: the modes.
        index: regions of the pool.
        budget_boxes: that will be spent.
        excluded: images that cannot be chosen, such as those that earlier cycles asked for, which
            are the nearest to what asked for them; they take nobody's place.
    """
    vectors = [query.object_vector for query in queries if query.object_vector is not None]
    if not vectors:
        return frozenset()
    found = index.score_images(np.stack(vectors), excluded=excluded)
    count = SHORTLIST + PER_BOX * budget_boxes
    best = np.argsort(-found.similarities, axis=1, kind="stable")[:, :count]
    return frozenset(found.images[column] for column in np.unique(best))


def with_rois(
    context: Context,
    pool: Sequence[PoolImage],
    embedder: RegionEmbedder,
    only: Container[str] | None = None,
) -> list[PoolImage]:
    """The pool with the strongest detections of each image and their vectors.

    An image that cannot be opened keeps no detections.

    Args:
        context: wiring.
        pool: images.
        embedder: of regions.
        only: images to look at; None for all.
    """
    found = []
    for image in pool:
        if only is not None and image.image not in only:
            found.append(image)
            continue
        with reading(context.sessions) as session:
            row = session.get_one(Image, image.image)
        try:
            found.append(_with_rois(context, row, image, embedder))
        except (CurationError, OSError) as error:
            logger.warning("image %s is compared by no detection: %s", image.image, error)
            found.append(replace(image, detections=None))
    return found


def _with_rois(
    context: Context, row: Image, image: PoolImage, embedder: RegionEmbedder
) -> PoolImage:
    if image.detections is None:
        return image
    strong = image.detections.above(MIN_SCORE)
    if len(strong) > MAX_OBJECTS:
        strong = strong.above(float(strong.scores[MAX_OBJECTS - 1]))
    boxes: list[Box] = [
        (float(a), float(b), float(c), float(d)) for a, b, c, d in strong.boxes_xyxy
    ]
    pixels = open_image(context, row)
    embedded = embedder.embed_failures(pixels, boxes, [[] for _ in boxes])
    rois = np.array([one.object_vector for one in embedded], np.float32)
    return replace(image, detections=strong, rois=rois.reshape(len(boxes), embedder.width))
