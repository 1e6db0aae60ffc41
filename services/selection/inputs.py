"""What a selection goes by, from database and files: evidence, the pool, what is barred."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, or_, select

from curation import select as policies
from curation.kernel.errors import ShardCorrupt
from curation.kernel.types import Detections, FailureKind
from curation.modes import FailureEvidence
from services.context import Context
from services.db.engine import reading
from services.db.tables import (
    EVALUATION_ROLES,
    Annotation,
    Embedding,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    Role,
    TaskState,
)
from services.models.classes import TRAINING_ROLES
from services.selection.label_cost import boxes_estimate, rate_of
from services.store.storage import read_npz

logger = logging.getLogger(__name__)


def evidence_of(
    context: Context, model_id: str, encoder_version: str, names: tuple[str, ...]
) -> list[FailureEvidence]:
    """What the explanations of the champion's open failures point at."""
    with reading(context.sessions) as session:
        rows = session.execute(
            select(FailureRow, Explanation, Image.group)
            .join(Explanation, Explanation.failure_id == FailureRow.id)
            .join(Image, Image.id == FailureRow.image_id)
            .where(
                FailureRow.model_id == model_id,
                FailureRow.state == FailureState.EXPLAINED,
                Explanation.encoder_version == encoder_version,
            )
            .order_by(FailureRow.id, Explanation.created_at)
        ).all()
    newest = {failure.id: (failure, explanation, group) for failure, explanation, group in rows}
    read = [_one_evidence(context, *one, names) for one in newest.values()]
    return [one for one in read if one is not None]


def _one_evidence(
    context: Context,
    failure: FailureRow,
    explanation: Explanation,
    group: str,
    names: tuple[str, ...],
) -> FailureEvidence | None:
    """What one explanation points at; None where its file is lost."""
    arrays = _arrays(context.project.explanations / explanation.file, f"failure {failure.id}")
    if arrays is None:
        return None
    return FailureEvidence(
        failure=failure.id,
        kind=FailureKind(failure.kind),
        label=names.index(failure.label),
        vectors=arrays["vectors"],
        weights=arrays["weights"],
        object_vector=arrays["object_vector"],
        whole=arrays["image_vector"],
        frame=failure.image_id,
        group=group,
    )


def _arrays(path: Path, whose: str) -> dict[str, npt.NDArray[Any]] | None:
    """Arrays of a file; None where it is lost or damaged, which costs only those it is about."""
    try:
        return read_npz(path)
    except (FileNotFoundError, ShardCorrupt) as error:
        logger.warning(
            "left out of the selection: %s, since %s is lost or damaged (%s); put it back from a "
            "backup of the project folder",
            whose,
            path,
            error,
        )
        return None


def pool_of(
    context: Context, champion: Model, encoder_version: str, scores: dict[str, Detections]
) -> tuple[list[policies.PoolImage], frozenset[str]]:
    """Pool images with what policies need, and those that must not be chosen.

    An image whose vectors are lost takes no part.
    """
    with reading(context.sessions) as session:
        rows = session.execute(
            select(Image, Embedding)
            .join(Embedding, Embedding.image_id == Image.id)
            .where(Image.role == Role.POOL, Embedding.encoder_version == encoder_version)
            .order_by(Image.id)
        ).all()
        labelled = session.scalars(select(Annotation.image_id).distinct()).all()
        asked = session.scalars(
            select(LabelTask.image_id).where(LabelTask.state != TaskState.SKIPPED)
        ).all()
    stored = Counter(embedding.file for _, embedding in rows)
    wholes = {
        file: arrays["wholes"].astype(np.float32)
        for file, count in stored.items()
        if (arrays := _arrays(context.project.embeddings / file, f"{count} images")) is not None
    }
    estimates = _estimates(context, champion, scores, [image.id for image, _ in rows])
    pool = [
        policies.PoolImage(
            image=image.id,
            boxes_estimate=estimates[image.id],
            phash=int(image.perceptual_hash, 16),
            detections=scores.get(image.id),
            vector=wholes[embedding.file][embedding.row],
        )
        for image, embedding in rows
        if embedding.file in wholes
    ]
    return pool, frozenset(labelled) | frozenset(asked)


def _estimates(
    context: Context, champion: Model, scores: dict[str, Detections], image_ids: Sequence[str]
) -> dict[str, float]:
    """Boxes that each image costs; where nobody has looked, what the others cost on average."""
    counted = context.settings.failures.score_threshold
    rate = rate_of(champion.reports)
    seen = {
        image_id: boxes_estimate(scores[image_id], rate, counted)
        for image_id in image_ids
        if image_id in scores
    }
    unseen = float(np.mean(list(seen.values()))) if seen else boxes_estimate(None, rate, counted)
    return {image_id: seen.get(image_id, unseen) for image_id in image_ids}


def barred_hashes(context: Context) -> tuple[int, ...]:
    """What must not be asked for: the like of a holdout, or of what may be trained on already.

    Not the like of a field frame whose truth is known: that is the best answer to its failures.
    """
    labelled = and_(Image.role.in_(TRAINING_ROLES), Image.id.in_(select(Annotation.image_id)))
    barred = or_(Image.role.in_(EVALUATION_ROLES), labelled)
    with reading(context.sessions) as session:
        hashes = session.scalars(select(Image.perceptual_hash).where(barred).distinct()).all()
    return tuple(sorted(int(text, 16) for text in hashes))
