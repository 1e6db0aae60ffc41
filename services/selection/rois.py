"""Vectors of the objects that the champion detects in the pool, for policies that compare them."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from curation.kernel.errors import CurationError
from curation.kernel.types import Box
from curation.select import PoolImage
from services.context import Context
from services.db.engine import reading
from services.db.tables import Image
from services.store.storage import open_image

if TYPE_CHECKING:
    from curation.embedding.embed import RegionEmbedder

logger = logging.getLogger(__name__)

MAX_OBJECTS, MIN_SCORE = 20, 0.02


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
