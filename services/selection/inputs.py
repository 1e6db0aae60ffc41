"""What a selection goes by, from database and files: evidence, the pool, what is barred."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, select

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
from services.store import embeddings
from services.store.drawings import explanation_arrays

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
    whose = f"failure {failure.id}"
    arrays = _arrays(explanation.file, whose, lambda _: explanation_arrays(context, explanation))
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
    file: str, whose: str, read: Callable[[str], embeddings.Arrays]
) -> embeddings.Arrays | None:
    """Arrays of a file; None where it is lost or damaged, which costs only those it is about."""
    try:
        return read(file)
    except (FileNotFoundError, ShardCorrupt) as error:
        logger.warning(
            "left out of the selection: %s, since %s is lost or damaged (%s); put it back from a "
            "backup of the project folder",
            whose,
            file,
            error,
        )
        return None


@dataclass(frozen=True, slots=True)
class Prices:
    """What images cost to label, in boxes.

    Attributes:
        by_image: of those that the champion has looked at.
        usual: of the others, 1 at least: what those cost on average; before the first, what an
            image of the holdout does.
    """

    by_image: Mapping[str, float]
    usual: float

    def of(self, image_id: str) -> float:
        """Boxes that an image costs."""
        return self.by_image.get(image_id, self.usual)


def prices_of(context: Context, champion: Model, scores: Mapping[str, Detections]) -> Prices:
    """What images cost, one detector's detections gone through once."""
    counted, rate = context.settings.failures.score_threshold, rate_of(champion.reports)
    by_image = {name: boxes_estimate(seen, rate, counted) for name, seen in scores.items()}
    if by_image:
        return Prices(by_image, max(1.0, float(np.mean(list(by_image.values())))))
    report = (champion.reports or {}).get(Role.HOLDOUT) or {}
    objects, images = float(report.get("objects", 0)), int(report.get("images", 0))
    return Prices(by_image, max(1.0, objects / max(1, images)))


def pool_of(
    context: Context,
    encoder_version: str,
    prices: Prices,
    scores: Mapping[str, Detections] | None = None,
    only: Collection[str] | None = None,
    vectors: bool = True,
) -> list[policies.PoolImage]:
    """Pool images with what policies need; one without vectors that are asked for is left out.

    Args:
        context: wiring.
        encoder_version: of the vectors.
        prices: of images.
        scores: what the champion finds, by image; None: images come without it.
        only: the images wanted; None for all of the pool. What they do not need is not read.
        vectors: whether whole-image vectors are wanted: without them no file is opened.
    """
    # Columns, not entities: a session's object takes 3 KB an image.
    query = (
        select(Image.id, Image.perceptual_hash, Embedding.file, Embedding.row)
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
    wholes = _wholes(context, [row[2:] for row in rows]) if vectors else [None] * len(rows)
    return [
        policies.PoolImage(
            image=image_id,
            boxes_estimate=prices.of(image_id),
            phash=int(phash, 16),
            detections=None if scores is None else scores.get(image_id),
            vector=whole,
        )
        for (image_id, phash, _, _), whole in zip(rows, wholes, strict=True)
        if whole is not None or not vectors
    ]


def _wholes(context: Context, places: Sequence[tuple[str, int]]) -> list[npt.NDArray[Any] | None]:
    """[D] whole-image vector of each place, file and row; None where the file cannot be read.

    They are rows of one matrix of half floats, as they are stored: 86 MB of a hundred thousand
    images. Each file is read once; the regions that older ones hold too stay compressed.
    """
    by_file: dict[str, list[int]] = defaultdict(list)
    for number, (file, _) in enumerate(places):
        by_file[file].append(number)
    matrix, found = None, [False] * len(places)
    for file, numbers in by_file.items():
        arrays = _arrays(
            file,
            f"{len(numbers)} images",
            lambda file: embeddings.read(context, file, ("wholes",)),
        )
        if arrays is None:
            continue
        own = arrays["wholes"]
        if matrix is None:
            matrix = np.empty((len(places), own.shape[1]), np.float16)
        matrix[numbers] = own[[places[number][1] for number in numbers]]
        for number in numbers:
            found[number] = True
    if matrix is None:
        return [None] * len(places)
    return [row if known else None for row, known in zip(matrix, found, strict=True)]


def spent(context: Context) -> frozenset[str]:
    """Images that must not be chosen: labelled, or asked for."""
    with reading(context.sessions) as session:
        labelled = session.scalars(select(Annotation.image_id).distinct()).all()
        asked = session.scalars(
            select(LabelTask.image_id).where(LabelTask.state != TaskState.SKIPPED)
        ).all()
    return frozenset(labelled) | frozenset(asked)


def barred_hashes(context: Context) -> tuple[int, ...]:
    """What must not be asked for: the like of a holdout, or of what may be trained on already.

    Nor of a pool image that is asked for. Not the like of a field frame whose truth is known: that
    is the best answer to its failures.
    """
    tasks = select(LabelTask.image_id).where(LabelTask.state != TaskState.SKIPPED)
    labelled = select(Annotation.image_id)
    # Three questions: as one, a database may go over all images of the pool for it.
    barred = (
        Image.role.in_(EVALUATION_ROLES),
        and_(Image.role.in_(TRAINING_ROLES), Image.id.in_(labelled)),
        and_(Image.role == Role.POOL, Image.id.in_(tasks)),
    )
    found = set[str]()
    with reading(context.sessions) as session:
        for condition in barred:
            found.update(session.scalars(select(Image.perceptual_hash).where(condition)))
    return tuple(sorted(int(text, 16) for text in found))


def difficulty_of(champion: Model) -> npt.NDArray[np.float32] | None:
    """[K] float32 in 0..1: 1 - AP50 of each class on the holdout; None where it is not measured."""
    figures = ((champion.reports or {}).get(Role.HOLDOUT) or {}).get("per_class50")
    if not figures:
        return None
    hard = [1.0 - (figures.get(name) or 0.0) for name in champion.class_names]
    return np.array(hard, np.float32)
