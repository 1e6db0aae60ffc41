"""The holdout: what a cycle makes is judged on it, so that none begins without one."""

from __future__ import annotations

from sqlalchemy.orm import Session

from curation.manifest import Manifest
from retrain.gate import nothing_to_measure
from services import datasets
from services.db.tables import Model, Role
from services.errors import Conflict

NO_HOLDOUT = "the gate needs a holdout: `e2x import FOLDER --role holdout`"


def require(session: Session, champion: Model) -> None:
    """Refuse what ends in a gate while the gate could measure nothing.

    Raises:
        Conflict: there is no holdout, or no object of the champion's classes in it.
    """
    holdout = datasets.labelled_set(session, Role.HOLDOUT)
    if not holdout.items:
        raise Conflict(NO_HOLDOUT)
    labels = counted_labels(holdout)
    if labels.isdisjoint(champion.class_names[1:]):
        why = nothing_to_measure(champion.class_names, labels)
        raise Conflict(f"the gate could measure nothing: {why}, `e2x import FOLDER --role holdout`")


def counted_labels(holdout: Manifest) -> set[str]:
    """Names of the objects that are not to be ignored, whether or not a model knows them."""
    return {
        label
        for item in holdout.items
        for label, ignored in zip(item.labels, item.ignore, strict=True)
        if not ignored
    }
