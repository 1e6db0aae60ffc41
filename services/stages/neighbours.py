"""Neighbours: the regions of one failure → what resembles them in the pool."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from curation.index.protocol import PoolIndex
from curation.kernel.types import FloatArray
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import Neighbours
from services.failures.neighbours import MOST_SHOWN
from services.store import drawings
from services.store.region_index import has_index, open_index
from services.units import Claim
from services.units.pipeline import StageContext, Store

HITS = 200
"""Regions a query: the overlapping cells of one image are many of the nearest."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Look up ``payload['failure']``; the index is only read."""
    context, failure_id = stage.context, claim.payload["failure"]
    with reading(context.sessions) as session:
        explanation = drawings.newest_explanation(session, failure_id)
    if explanation is None:
        return _stored(failure_id, [], "it is not explained any more")
    encoder = explanation.encoder_version
    if not has_index(context, encoder):
        return _stored(failure_id, [], "nothing of the pool is indexed yet")
    arrays = drawings.explanation_arrays(context, explanation, ["vectors", "object_vector"])
    vectors: FloatArray = arrays["vectors"].astype(np.float32)
    first = 1
    if not len(vectors):  # no region hurts: what looks like the object itself
        vectors, first = arrays["object_vector"].astype(np.float32)[None], 0
    index: PoolIndex = stage.resident.get(
        f"index:{encoder}", lambda: open_index(context, encoder, vectors.shape[1])
    )
    hits = index.search(vectors, HITS)
    found: list[dict[str, Any]] = []
    for region, (names, boxes, similarities) in enumerate(
        zip(hits.images, hits.boxes_xyxy, hits.similarities, strict=True), first
    ):
        seen: set[str] = set()
        for name, box, similarity in zip(names, boxes, similarities, strict=True):
            if not name or name in seen or not np.isfinite(similarity):
                continue
            seen.add(name)
            corners = [round(float(value), 1) for value in box]
            found.append(
                {
                    "image": name,
                    "box": corners,
                    "similarity": round(float(similarity), 4),
                    "region": region,
                }
            )
            if len(seen) >= MOST_SHOWN // len(vectors):
                break
    found.sort(key=lambda entry: -entry["similarity"])
    return _stored(failure_id, found, "" if found else "nothing of the pool is indexed yet")


def _stored(failure_id: str, found: list[dict[str, Any]], note: str) -> Store:
    def store(session: Session) -> dict[str, Any]:
        row = session.get(Neighbours, failure_id)
        if row is not None:
            row.found, row.note, row.found_at = found, note, utc_now()
        return {"found": len(found)}

    return store
