"""Embed: a batch of pool images → region vectors in one file, and a unit that indexes them."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from curation.errors import ImageUnreadable
from curation.types import ImageArray
from services.db import units
from services.db.tables import Embedding, Image
from services.db.units import Claim
from services.pipeline import StageContext, Store
from services.stages.resident import embedder_of
from services.storage import open_image, write_npz

logger = logging.getLogger(__name__)


def run(stage: StageContext, claim: Claim) -> Store:
    """Embed ``payload['images']``; an image that cannot be read is left out and said."""
    context = stage.context
    wanted = claim.payload["images"]
    with context.sessions() as session:
        rows = {row.id: row for row in session.scalars(select(Image).where(Image.id.in_(wanted)))}
    readable: list[tuple[str, ImageArray]] = []
    for image_id in wanted:
        try:
            readable.append((image_id, open_image(context.project, rows[image_id])))
        except (ImageUnreadable, FileNotFoundError, KeyError) as error:
            logger.error("image %s is left out of the pool: %s", image_id, error)
    if not readable:
        return lambda _session: {"embedded": 0, "unreadable": len(wanted)}
    embedder = embedder_of(stage)
    names = [image_id for image_id, _ in readable]
    embeddings = embedder.embed_pool([pixels for _, pixels in readable])
    file = f"{embedder.version[:16]}/{_name(names)}.npz"
    write_npz(
        context.project.embeddings / file,
        counts=np.array([len(one.vectors) for one in embeddings], np.int64),
        vectors=np.concatenate([one.vectors for one in embeddings]).astype(np.float16),
        boxes=np.concatenate([one.boxes_xyxy for one in embeddings]),
        wholes=np.stack([one.whole for one in embeddings]),
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
            f"index:{file}",
            {"file": file, "images": names, "encoder": embedder.version, "width": embedder.width},
            cycle_id=claim.cycle_id,
        )
        return {"embedded": len(names), "unreadable": len(wanted) - len(names)}

    return store


def _name(image_ids: list[str]) -> str:
    return hashlib.sha256(",".join(image_ids).encode()).hexdigest()[:32]
