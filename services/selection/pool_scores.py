"""What the champion sees in the pool, for whoever wants to choose from it outside of a cycle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from sqlalchemy import select

from curation.kernel.errors import CurationError, ShardCorrupt
from curation.kernel.types import Detections
from services.config.project import Project
from services.context import Context
from services.db.engine import reading
from services.db.tables import Cycle, Image, Model, Role
from services.models.predict import Predict
from services.store.storage import open_image, read_npz

logger = logging.getLogger(__name__)


def known_scores(context: Context, champion: Model) -> dict[str, Detections]:
    """Detections of pool images that some cycle of this champion has looked at."""
    with reading(context.sessions) as session:
        numbers = session.scalars(
            select(Cycle.id).where(Cycle.champion_id == champion.id).order_by(Cycle.id)
        ).all()
    found: dict[str, Detections] = {}
    for number in numbers:
        found.update(read_pool_scores(context.project, number))
    return found


def unknown(context: Context, scores: dict[str, Detections]) -> list[Image]:
    """Pool images without scores, by id."""
    with reading(context.sessions) as session:
        rows = session.scalars(select(Image).where(Image.role == Role.POOL).order_by(Image.id))
        return [row for row in rows if row.id not in scores]


def rows_of(context: Context, image_ids: Sequence[str]) -> list[Image]:
    """Images by id."""
    with reading(context.sessions) as session:
        return [session.get_one(Image, image_id) for image_id in image_ids]


def score(
    context: Context,
    champion: Model,
    images: list[Image],
    predict: Predict,
    on_image: Callable[[], None],
) -> dict[str, Detections]:
    """Run the champion over images; one that cannot be opened is left out.

    Args:
        context: wiring.
        champion: whose eyes.
        images: of the pool.
        predict: runs a model.
        on_image: called after each image.
    """
    found: dict[str, Detections] = {}
    for image in images:
        try:
            pixels = open_image(context, image)
        except (CurationError, OSError) as error:
            logger.warning("image %s cannot be chosen: %s", image.id, error)
            continue
        finally:
            on_image()
        found[image.id] = predict(champion.id, [pixels])[0]
    return found


def read_pool_scores(project: Project, cycle_id: int) -> dict[str, Detections]:
    """Detections of every pool image that the cycle's champion has looked at.

    A damaged file costs those that are in it: nobody has looked at them.
    """
    found: dict[str, Detections] = {}
    for path in sorted((project.runs / f"cycle-{cycle_id}").glob("pool-*.npz")):
        try:
            arrays = read_npz(path)
        except ShardCorrupt as error:
            logger.warning("what the champion saw in some of the pool is left out: %s", error)
            continue
        ends = np.cumsum(arrays["counts"])[:-1]
        parts = [np.split(arrays[key], ends) for key in ("boxes", "scores", "labels")]
        anchors = np.split(arrays["default_boxes"], ends)
        for image_id, boxes, scores, labels, default_boxes in zip(
            arrays["images"], *parts, anchors, strict=True
        ):
            found[str(image_id)] = Detections(boxes, scores, labels, default_boxes)
    return found
