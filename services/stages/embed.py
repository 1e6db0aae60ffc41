"""Embed: a batch of pool images → vectors in one file, and a unit that indexes the regions'."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from curation.kernel.batching import in_batches
from curation.kernel.errors import ImageUnreadable
from curation.kernel.types import ImageArray
from services import units
from services.context import Context
from services.db.engine import reading
from services.db.tables import Embedding, Image
from services.models.loaded import embedder_of
from services.store import embeddings as batches
from services.store.project_store import store_of
from services.store.storage import open_image
from services.units import Claim
from services.units.pipeline import StageContext, Store

if TYPE_CHECKING:
    from curation.embedding.embed import ImageEmbedding, RegionEmbedder

logger = logging.getLogger(__name__)


def run(stage: StageContext, claim: Claim) -> Store:
    """Embed ``payload['images']``; one that cannot be read or embedded is left out and said.

    Those that this encoder has embedded already stay as they are.
    """
    context = stage.context
    embedder = embedder_of(stage)
    known = embedded_already(context, claim.payload["images"], embedder.version)
    wanted = [image for image in claim.payload["images"] if image not in known]
    found: dict[str, ImageEmbedding] = {}
    for images in readable(context, wanted):
        found |= _embedded(embedder, images)
    if not found:
        return lambda _session: {"embedded": 0, "unreadable": len(wanted)}
    names, embeddings = list(found), list(found.values())
    file = f"{embedder.version[:16]}/{_name(names)}.npz"
    batches.write(
        context,
        file,
        [one.vectors for one in embeddings],
        [one.boxes_xyxy for one in embeddings],
        np.stack([one.whole for one in embeddings]),
    )

    def store(session: Session) -> dict[str, Any]:
        session.execute(
            delete(Embedding).where(
                Embedding.image_id.in_(names), Embedding.encoder_version == embedder.version
            )
        )
        session.add_all(
            Embedding(
                image_id=image_id,
                encoder_version=embedder.version,
                file=file,
                row=row,
                regions=len(one.vectors),
            )
            for row, (image_id, one) in enumerate(zip(names, embeddings, strict=True))
        )
        units.enqueue(
            session,
            "index",
            f"index:{file}:{claim.unit_id}",  # the same images may be embedded once more
            {"file": file, "images": names, "encoder": embedder.version, "width": embedder.width},
            cycle_id=units.cycle_of(session, claim),
        )
        return {"embedded": len(names), "unreadable": len(wanted) - len(names)}

    return store


def embedded_already(context: Context, image_ids: Sequence[str], encoder_version: str) -> set[str]:
    """Those with vectors of this encoder in a file that is there."""
    with reading(context.sessions) as session:
        rows = session.execute(
            select(Embedding.image_id, Embedding.file).where(
                Embedding.image_id.in_(image_ids), Embedding.encoder_version == encoder_version
            )
        ).all()
    store = store_of(context)
    there = {
        file for file in {row.file for row in rows} if store.exists(batches.key(context, file))
    }
    return {row.image_id for row in rows if row.file in there}


def readable(context: Context, image_ids: Sequence[str]) -> Iterator[dict[str, ImageArray]]:
    """Pixels of stored images by id, without those that cannot be read.

    In batches that memory bounds (:mod:`curation.kernel.batching`); each is let go before the next.
    """
    with reading(context.sessions) as session:
        found = session.scalars(select(Image).where(Image.id.in_(image_ids)))
        rows = {row.id: row for row in found}
    for image_id in image_ids:
        if image_id not in rows:
            logger.error("image %s is left out: it has no row", image_id)
    known = [rows[image_id] for image_id in image_ids if image_id in rows]
    for batch in in_batches(known, lambda row: row.width_px * row.height_px, len(known)):
        if images := dict(_opened(context, batch)):
            yield images


def _opened(context: Context, rows: Sequence[Image]) -> Iterator[tuple[str, ImageArray]]:
    for row in rows:
        try:
            yield row.id, open_image(context, row)
        except (ImageUnreadable, OSError) as error:
            logger.error("image %s is left out: %s", row.id, error)


def _embedded(embedder: RegionEmbedder, images: dict[str, ImageArray]) -> dict[str, ImageEmbedding]:
    """Embeddings by image, without those that are not finite: nothing can be compared with them."""
    if not images:
        return {}
    found = {}
    embeddings = embedder.embed_pool(list(images.values()))
    for image_id, one in zip(images, embeddings, strict=True):
        if np.isfinite(one.vectors).all() and np.isfinite(one.whole).all():
            found[image_id] = one
        else:
            logger.error("image %s is left out: its vectors are not finite", image_id)
    return found


def _name(image_ids: list[str]) -> str:
    return hashlib.sha256(",".join(image_ids).encode()).hexdigest()[:32]
