"""Index: the vectors of one embedded batch into the region index, which only this stage writes."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from curation.index.protocol import PoolIndex
from curation.index.shards import CODE_ROWS
from services import units
from services.db.tables import Embedding
from services.store import embeddings
from services.store.region_index import open_index
from services.units import Claim
from services.units.pipeline import StageContext, Store
from services.units.requests import request_embed

logger = logging.getLogger(__name__)

CODE_AT = 2 * CODE_ROWS
"""Regions that lie as half floats before they are coded: some 30 MB. A code learnt from fewer would
weigh more than it saves."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Add ``payload['images']``; adding them twice leaves one set of vectors.

    In a project folder the index alone then holds them. In this order a unit that is killed and
    run again finds the vectors in the one or in the other.
    """
    context, payload = stage.context, claim.payload
    regions = embeddings.regions_of(context, payload["file"])
    # Kept between units: who opens an index reads the name of every image in it, so that a pool
    # indexed in batches would be read through once for each of them.
    index: PoolIndex = stage.resident.get(
        f"index:{payload['encoder']}",
        lambda: open_index(context, payload["encoder"], payload["width"]),
    )
    if regions is not None:
        index.add(payload["images"], regions.vectors, regions.boxes_xyxy)
        embeddings.drop_regions(context, payload["file"])
    elif any(image not in index for image in payload["images"]):
        return _again(claim, payload["file"])
    if index.waiting() >= context.settings.selection.seal_rows:
        index.seal()
    elif index.uncoded() >= CODE_AT:
        before = index.uncoded()
        left = index.compress()
        logger.info("%d regions of the index are coded, %d wait", before - left, left)

    def store(session: Session) -> dict[str, Any]:
        session.execute(
            update(Embedding)
            .where(
                Embedding.image_id.in_(payload["images"]),
                Embedding.encoder_version == payload["encoder"],
            )
            .values(indexed=True)
        )
        return {"indexed": len(payload["images"])}

    return store


def _again(claim: Claim, name: str) -> Store:
    """Have a batch embedded anew whose vectors only an index held that is not this one any more.

    So it is in a project that was put back from a copy: of its index as it was a moment before.
    """
    images, encoder = claim.payload["images"], claim.payload["encoder"]

    def store(session: Session) -> dict[str, Any]:
        logger.warning(
            "%s holds no vectors of regions and the index lacks some of its %d images: they are "
            "embedded again",
            name,
            len(images),
        )
        session.execute(
            delete(Embedding).where(
                Embedding.image_id.in_(images), Embedding.encoder_version == encoder
            )
        )
        asker, cycle = f"{encoder}:{claim.unit_id}", units.cycle_of(session, claim)
        request_embed(session, images, len(images), encoder=asker, cycle_id=cycle)
        return {"indexed": 0, "embedded_again": len(images)}

    return store
