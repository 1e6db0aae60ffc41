"""Which classes the project's detector knows."""

from __future__ import annotations

from sqlalchemy.orm import Session

from curation.kernel.class_names import BACKGROUND
from services.db import label_uses
from services.db.tables import Role
from services.models import registry

TRAINING_ROLES = (Role.SEED, Role.POOL)
"""Of the images that a detector is trained on."""


def class_names(session: Session) -> tuple[str, ...]:
    """K names, background first: the champion's, then what the training images add, sorted.

    The champion's order is kept so that a class keeps its number from model to model. The time
    that it takes grows with the classes and not with the images.
    """
    champion = registry.champion(session)
    known = tuple(champion.class_names) if champion is not None else (BACKGROUND,)
    return known + tuple(sorted(label_uses.labels(session, TRAINING_ROLES) - set(known)))
