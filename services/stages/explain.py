"""Explain: one field image, all its open failures → attributions, regions and their vectors."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.embedding.embed import FailureEmbedding
from curation.explain.hurting import hurting_regions
from curation.kernel.types import Attribution, Failure, Region
from services.config import builders
from services.db.convert import failure_of
from services.db.engine import reading
from services.db.tables import Explanation, FailureRow, FailureState, Image
from services.models import holding
from services.models.loaded import detector_of, embedder_of, explainer_of
from services.store import drawings
from services.store.storage import key_of, open_image, write_arrays
from services.store.superpixels import segments_of, shared_by_hosts
from services.units import Claim
from services.units.pipeline import StageContext, Store


@dataclass(frozen=True, slots=True)
class _Explained:
    """One failure with all that was found out about it."""

    row: FailureRow
    attribution: Attribution
    regions: list[Region]
    embedding: FailureEmbedding


def run(stage: StageContext, claim: Claim) -> Store:
    """Explain the failures of ``payload['model']`` in ``payload['image']``.

    All failures of an image share superpixels, perturbed images and forward passes.
    """
    began = time.monotonic()
    image_id, model_id = claim.payload["image"], claim.payload["model"]
    context, wanted = stage.context, stage.context.settings.explanation
    with reading(context.sessions) as session:
        image = session.get_one(Image, image_id)
        rows = _open_failures(session, image_id, model_id)[: wanted.max_failures_per_image]
    if not rows:
        return lambda _session: {"explained": 0}
    held = holding.check(context, model_id)
    if held is not None:
        return partial(_hold, model_id, held)
    explainer = explainer_of(stage, model_id)  # a slip in the settings is told first
    detector, embedder = detector_of(stage, model_id), embedder_of(stage)
    pixels = open_image(context, image)
    failures = [failure_of(row, detector.class_names) for row in rows]
    segments = segments_of(
        context.project.segments,
        image_id,
        pixels,
        detector.input_size_hw,
        wanted.num_segments,
        wanted.segmentation,
        shared_by_hosts(context),
    )
    attributions = explainer.explain(
        detector, pixels, [failure.target for failure in failures], segments
    )
    regions = [
        _regions(stage, failure, attribution, (image.width_px, image.height_px))
        for failure, attribution in zip(failures, attributions, strict=True)
    ]
    embeddings = embedder.embed_failures(pixels, [f.box_xyxy for f in failures], regions)
    explained = [
        _Explained(*parts) for parts in zip(rows, attributions, regions, embeddings, strict=True)
    ]
    seconds = (time.monotonic() - began) / len(rows)
    stored = [_write(stage, one, embedder.version, seconds) for one in explained]

    def store(session: Session) -> dict[str, Any]:
        session.get_one(Image, image_id, with_for_update=True)  # two of one frame: one by one
        for explanation in stored:
            session.merge(explanation)
        for failure in session.scalars(
            select(FailureRow).where(
                FailureRow.id.in_([row.id for row in rows]),
                FailureRow.state == FailureState.FOUND,
            )
        ):
            failure.state = FailureState.EXPLAINED
        # such as those of a method that knows no harm; selection then looks for the object
        bare = sum(not explanation.regions for explanation in stored)
        return {"explained": len(stored), "without_regions": bare, "seconds": round(seconds, 3)}

    return store


def _hold(model_id: str, why: str, session: Session) -> dict[str, Any]:
    """The failures stay found; :mod:`services.models.holding` has them explained later."""
    holding.note(session, model_id)
    return {"explained": 0, "held": why}


def _open_failures(session: Session, image_id: str, model_id: str) -> list[FailureRow]:
    """The gravest first: what people reported, then what was nearly right last."""
    rows = session.scalars(
        select(FailureRow).where(
            FailureRow.image_id == image_id,
            FailureRow.model_id == model_id,
            FailureRow.state == FailureState.FOUND,
        )
    ).all()
    return sorted(rows, key=lambda row: (row.source != "operator", -row.iou, row.id))


def _regions(
    stage: StageContext,
    failure: Failure,
    attribution: Attribution,
    image_size_wh: tuple[int, int],
) -> list[Region]:
    return hurting_regions(
        attribution,
        failure.hurts_positive,
        image_size_wh,
        builders.region_rules(stage.context.settings),
        focus_box=failure.box_xyxy,
    )


def _write(
    stage: StageContext, one: _Explained, encoder_version: str, seconds: float
) -> Explanation:
    """The arrays to a file named by content, and the row that describes them."""
    attribution, regions = one.attribution, one.regions
    key = _key(one.row.id, attribution, encoder_version)
    file = f"{key[:2]}/{key}.npz"
    grid = attribution.segments.shape
    context = stage.context
    write_arrays(
        context,
        key_of(context, context.project.explanations, file),
        **drawings.stored_arrays(attribution),
        masks=np.stack([r.mask for r in regions]) if regions else np.zeros((0, *grid), bool),
        rings=np.stack([r.ring for r in regions]) if regions else np.zeros((0, *grid), bool),
        weights=one.embedding.weights,
        vectors=one.embedding.vectors,
        object_vector=one.embedding.object_vector,
        image_vector=one.embedding.whole,
    )
    return Explanation(
        id=key,
        failure_id=one.row.id,
        method=attribution.method,
        parameters=dict(attribution.parameters),
        encoder_version=encoder_version,
        file=file,
        regions=drawings.stored_regions(regions),
        score=attribution.score,
        baseline_score=attribution.baseline_score,
        seconds=seconds,
    )


def _key(failure_id: str, attribution: Attribution, encoder_version: str) -> str:
    partition = hashlib.sha256(attribution.segments.tobytes()).hexdigest()
    method = [attribution.method, dict(attribution.parameters)]
    content = [failure_id, *method, partition, encoder_version]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
