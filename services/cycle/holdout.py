"""The holdout: what a cycle makes is judged on it, so that none begins without one."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from retrain.gate import nothing_to_measure
from services.db import label_uses
from services.db.tables import Annotation, Image, Model, Role
from services.errors import Conflict

NO_HOLDOUT = "the gate needs a holdout: `e2x import FOLDER --role holdout`"


def require(session: Session, champion: Model) -> None:
    """Refuse what ends in a gate while the gate could measure nothing.

    Raises:
        Conflict: there is no holdout, or no object of the champion's classes in it.
    """
    if not has_labels(session):
        raise Conflict(NO_HOLDOUT)
    labels = counted_labels(session)
    if labels.isdisjoint(champion.class_names[1:]):
        why = nothing_to_measure(champion.class_names, labels)
        raise Conflict(f"the gate could measure nothing: {why}, `e2x import FOLDER --role holdout`")


def has_labels(session: Session) -> bool:
    """Whether any image of the holdout is labelled, be it as one without objects."""
    labelled = (
        select(Annotation.id)
        .join(Image, Image.id == Annotation.image_id)
        .where(Image.role == Role.HOLDOUT)
        .limit(1)
    )
    return session.scalar(labelled) is not None


def counted_labels(session: Session) -> set[str]:
    """Names of the holdout's objects that are not to be ignored, known to a model or not."""
    return label_uses.labels(session, (Role.HOLDOUT,), counted=True)
