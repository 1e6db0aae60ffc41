"""Which classes the project's detector knows."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.class_names import BACKGROUND
from services import registry
from services.db.tables import Annotation, Image, Role


def class_names(session: Session) -> tuple[str, ...]:
    """K names, background first: the champion's, then what the seed set adds, sorted.

    The champion's order is kept so that a class keeps its number from model to model.
    """
    champion = registry.champion(session)
    known = tuple(champion.class_names) if champion is not None else (BACKGROUND,)
    return known + tuple(sorted(seed_labels(session) - set(known)))


def seed_labels(session: Session) -> set[str]:
    """Names that appear in the seed set."""
    annotations = session.scalars(
        select(Annotation.objects)
        .join(Image, Image.id == Annotation.image_id)
        .where(Image.role == Role.SEED)
    )
    return {entry["label"] for objects in annotations for entry in objects}
