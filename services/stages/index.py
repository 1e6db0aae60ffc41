"""Index: the vectors of one embedded batch into the region index, whose only writer this is."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import update
from sqlalchemy.orm import Session

from services.db.tables import Embedding
from services.store.region_index import open_index
from services.store.storage import read_npz
from services.units import Claim
from services.units.pipeline import StageContext, Store


def run(stage: StageContext, claim: Claim) -> Store:
    """Add ``payload['images']``; adding them twice leaves one set of vectors."""
    context, payload = stage.context, claim.payload
    arrays = read_npz(context.project.embeddings / payload["file"])
    ends = np.cumsum(arrays["counts"])[:-1]
    index = open_index(context, payload["encoder"], payload["width"])
    index.add(
        payload["images"],
        np.split(arrays["vectors"].astype(np.float32), ends),
        np.split(arrays["boxes"], ends),
    )
    if index.waiting() >= context.settings.selection.seal_rows:
        index.seal()

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
