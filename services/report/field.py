"""Failures in field frames by model, and in those frames that two models have looked at.

Frames come in all the time, and only a champion looks at them: more failures of a later model may
just be those of more frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Subquery, func, select
from sqlalchemy.orm import Session

from services.db.tables import TAKEN_BACK, FailureRow, Look, Model, ModelState, Unit, UnitState


@dataclass(frozen=True, slots=True)
class FieldCounts:
    """What models get wrong in field frames; failures that were taken back do not count.

    Attributes:
        failures: of each model, in all frames that it has looked at.
        frames: of each model, how many these are.
        shared: frames that both the first model and the champion have looked at.
        shared_failures: of these two, in those frames.
    """

    failures: dict[str, int]
    frames: dict[str, int]
    shared: int
    shared_failures: dict[str, int]


def champion_of(models: Sequence[Model]) -> Model | None:
    """The model in use."""
    return next((model for model in models if model.state == ModelState.CHAMPION), None)


def read_field(session: Session, models: Sequence[Model]) -> FieldCounts:
    """Count failures and frames of all models.

    Args:
        session: only read from.
        models: all, the first one first.
    """
    pair = [models[0].id, (champion_of(models) or models[0]).id] if models else []
    looked = _looked()
    frames = session.execute(select(looked.c.model, func.count()).group_by(looked.c.model))
    both = (
        select(looked.c.image)
        .where(looked.c.model.in_(pair))
        .group_by(looked.c.image)
        .having(func.count() == len(set(pair)))
    )
    shared = session.scalar(select(func.count()).select_from(both.subquery())) or 0
    in_both = _failures(session, FailureRow.image_id.in_(both))
    return FieldCounts(
        failures=_failures(session),
        frames={row[0]: row[1] for row in frames},
        shared=shared,
        shared_failures={model_id: in_both.get(model_id, 0) for model_id in pair},
    )


def _looked() -> Subquery:
    """Which model has looked at which frame, each pair once, failures or none."""
    image, model = Unit.payload["image"].as_string(), Unit.payload["model"].as_string()
    done = (Unit.kind == "scan", Unit.state == UnitState.DONE)
    units = select(model.label("model"), image.label("image")).where(*done)
    return units.union(select(Look.model_id, Look.image_id)).subquery()  # each pair once


def _failures(session: Session, *conditions: Any) -> dict[str, int]:
    """By model."""
    query = (
        select(FailureRow.model_id, func.count())
        .where(FailureRow.state.not_in(TAKEN_BACK), *conditions)
        .group_by(FailureRow.model_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}
