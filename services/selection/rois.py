"""Vectors of the objects that the champion detects in the pool, for policies that compare them."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from curation.kernel.batching import in_batches
from curation.kernel.errors import CurationError
from curation.kernel.types import Box, Detections, ImageArray
from curation.select import PoolImage
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import Image
from services.store.storage import open_image

if TYPE_CHECKING:
    from curation.embedding.embed import RegionEmbedder

logger = logging.getLogger(__name__)

MAX_OBJECTS, MIN_SCORE = 20, 0.02
BATCH_IMAGES = 16
"""Decoded and encoded together; small ones, since large ones are bounded by their pixels. All of
their maps are held, 22 MB an image at the encoder's default size; on a CPU more are no faster."""


def with_rois(
    context: Context,
    pool: Sequence[PoolImage],
    embedder: RegionEmbedder,
    only: Container[str] | None = None,
) -> list[PoolImage]:
    """The pool with the strongest detections of each image and their vectors.

    Images are encoded in batches that memory bounds. One that cannot be opened keeps no detections.

    Args:
        context: wiring.
        pool: images.
        embedder: of regions.
        only: images to look at; None for all.
    """
    wanted = [
        image.image
        for image in pool
        if image.detections is not None and (only is None or image.image in only)
    ]
    by_id = {image.image: image for image in pool}
    for part in in_parts(wanted):
        for batch in in_batches(_rows(context, part), _pixels, BATCH_IMAGES):
            by_id |= _looked_at(context, batch, by_id, embedder)
    return [by_id[image.image] for image in pool]


def _rows(context: Context, image_ids: Sequence[str]) -> list[Image]:
    with reading(context.sessions) as session:
        query = select(Image).where(Image.id.in_(image_ids)).order_by(Image.id)
        return list(session.scalars(query))


def _pixels(row: Image) -> int:
    return row.width_px * row.height_px


def _looked_at(
    context: Context,
    rows: Sequence[Image],
    by_id: Mapping[str, PoolImage],
    embedder: RegionEmbedder,
) -> dict[str, PoolImage]:
    """Images that are encoded together."""
    found, opened, pictures = dict[str, PoolImage](), list[PoolImage](), list[ImageArray]()
    for row in rows:
        image = by_id[row.id]
        try:
            pictures.append(open_image(context, row))
        except (CurationError, OSError) as error:
            logger.warning("image %s is compared by no detection: %s", image.image, error)
            found[image.image] = replace(image, detections=None)
        else:
            opened.append(image)
    strong = [seen for image in opened if (seen := strongest(image.detections)) is not None]
    boxes: list[list[Box]] = [
        [(float(a), float(b), float(c), float(d)) for a, b, c, d in one.boxes_xyxy]
        for one in strong
    ]
    vectors = embedder.embed_objects(pictures, boxes)
    for image, detections, rois in zip(opened, strong, vectors, strict=True):
        found[image.image] = replace(image, detections=detections, rois=rois)
    return found


def strongest(detections: Detections | None) -> Detections | None:
    """The objects of an image that are compared; None where nobody looked at it."""
    if detections is None:
        return None
    strong = detections.above(MIN_SCORE)
    return strong if len(strong) <= MAX_OBJECTS else strong.above(strong.scores[MAX_OBJECTS - 1])
