"""What a selection goes by, from database and files: evidence, the pool, what is barred."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
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
from services.db.parts import in_parts
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


def _arrays(
    path: Path, whose: str, only: Collection[str] | None = None
) -> dict[str, npt.NDArray[Any]] | None:
    """Arrays of a file; None where it is lost or damaged, which costs only those it is about."""
    try:
        return read_npz(path, only)
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
    context: Context,
    champion: Model,
    encoder_version: str,
    scores: dict[str, Detections],
    only: Collection[str] | None = None,
    vectors: bool = True,
) -> list[policies.PoolImage]:
    """Pool images with what policies need; one without vectors that are asked for is left out.

    Args:
        context: wiring.
        champion: whose detections price an image.
        encoder_version: of the vectors.
        scores: what the champion finds, by image.
        only: the images wanted; None for all of the pool. What they do not need is not read.
        vectors: whether whole-image vectors are wanted: without them no file is opened.
    """
    query = (
        select(Image, Embedding)
        .join(Embedding, Embedding.image_id == Image.id)
        .where(Image.role == Role.POOL, Embedding.encoder_version == encoder_version)
        .order_by(Image.id)
    )
    wanted = None if only is None else sorted(only)
    with reading(context.sessions) as session:
        if wanted is None:
            rows = list(session.execute(query))
        else:
            rows = [
                row
                for part in in_parts(wanted)
                for row in session.execute(query.where(Image.id.in_(part)))
            ]
    wholes = _wholes(context, [embedding.file for _, embedding in rows]) if vectors else {}
    estimates = _estimates(context, champion, scores, [image.id for image, _ in rows])
    return [
        policies.PoolImage(
            image=image.id,
            boxes_estimate=estimates[image.id],
            phash=int(image.perceptual_hash, 16),
            detections=scores.get(image.id),
            vector=wholes[embedding.file][embedding.row] if vectors else None,
        )
        for image, embedding in rows
        if not vectors or embedding.file in wholes
    ]


def _wholes(context: Context, files: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """[I, D] whole-image vectors of each file that can be read; ``files`` names one an image.

    The regions beside them, which are most of a file, stay compressed.
    """
    found = {}
    for file, count in Counter(files).items():
        arrays = _arrays(context.project.embeddings / file, f"{count} images", ("wholes",))
        if arrays is not None:
            found[file] = arrays["wholes"].astype(np.float32)  # stored as half floats
    return found


def spent(context: Context) -> frozenset[str]:
    """Images that must not be chosen: labelled, or asked for."""
    with reading(context.sessions) as session:
        labelled = session.scalars(select(Annotation.image_id).distinct()).all()
        asked = session.scalars(
            select(LabelTask.image_id).where(LabelTask.state != TaskState.SKIPPED)
        ).all()
    return frozenset(labelled) | frozenset(asked)


def usual_price(context: Context, champion: Model, scores: dict[str, Detections]) -> float:
    """Boxes that an image costs to label on average, 1 at least.

    Of the images that the champion has looked at; before the first, of the holdout.
    """
    if scores:
        counted, rate = context.settings.failures.score_threshold, rate_of(champion.reports)
        prices = [boxes_estimate(one, rate, counted) for one in scores.values()]
        return max(1.0, float(np.mean(prices)))
    report = (champion.reports or {}).get(Role.HOLDOUT) or {}
    objects, images = float(report.get("objects", 0)), int(report.get("images", 0))
    return max(1.0, objects / max(1, images))


def _estimates(
    context: Context, champion: Model, scores: dict[str, Detections], image_ids: Sequence[str]
) -> dict[str, float]:
    """Boxes that each image costs; where nobody has looked, what the others cost on average."""
    counted = context.settings.failures.score_threshold
    rate = rate_of(champion.reports)
    unseen = usual_price(context, champion, scores)
    return {
        image_id: boxes_estimate(scores[image_id], rate, counted) if image_id in scores else unseen
        for image_id in image_ids
    }


def barred_hashes(context: Context) -> tuple[int, ...]:
    """What must not be asked for: the like of a holdout, or of what may be trained on already.

    Nor of a pool image that is asked for. Not the like of a field frame whose truth is known: that
    is the best answer to its failures.
    """
    labelled = and_(Image.role.in_(TRAINING_ROLES), Image.id.in_(select(Annotation.image_id)))
    tasks = select(LabelTask.image_id).where(LabelTask.state != TaskState.SKIPPED)
    asked = and_(Image.role == Role.POOL, Image.id.in_(tasks))
    barred = or_(Image.role.in_(EVALUATION_ROLES), labelled, asked)
    with reading(context.sessions) as session:
        hashes = session.scalars(select(Image.perceptual_hash).where(barred).distinct()).all()
    return tuple(sorted(int(text, 16) for text in hashes))


def difficulty_of(champion: Model) -> npt.NDArray[np.float32] | None:
    """[K] float32 in 0..1: 1 - AP50 of each class on the holdout; None where it is not measured."""
    figures = ((champion.reports or {}).get(Role.HOLDOUT) or {}).get("per_class50")
    if not figures:
        return None
    hard = [1.0 - (figures.get(name) or 0.0) for name in champion.class_names]
    return np.array(hard, np.float32)
