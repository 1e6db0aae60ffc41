"""Which frames stand for a day, and which for what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from curation.drift.sums import Frame
from services.config.setting_groups import DriftSettings
from services.db.parts import in_parts
from services.db.tables import Annotation, DriftView, Image, Observation, Role

VECTOR = np.dtype("<f2")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Frames of both sides: ids with their groups, in order of their names."""

    day: dict[str, str]
    reference: dict[str, str]

    @property
    def ids(self) -> list[str]:
        """All of them."""
        return [*self.day, *self.reference]


def choose(session: Session, day: date, settings: DriftSettings) -> Chosen:
    """The frames of a day and of the reference, the same at every call.

    Images are named by their hash, so that the first so many by name are a sample by chance, which
    an index gives at once however many there are.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    asked = _field().where(
        Observation.created_at >= start, Observation.created_at < start + timedelta(days=1)
    )
    return Chosen(
        day=_taken(session, asked, settings.day_images),
        reference=_reference(session, start, settings),
    )


def count(session: Session, day: date) -> int:
    """How many frames were reported on a day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    found = session.scalar(
        select(func.count()).where(
            Observation.created_at >= start, Observation.created_at < start + timedelta(days=1)
        )
    )
    return found or 0


def views(
    session: Session, chosen: Sequence[str], model_id: str, encoder: str
) -> dict[str, DriftView]:
    """What is known of these images already, by their ids."""
    found: dict[str, DriftView] = {}
    for some in in_parts(chosen):
        rows = session.scalars(
            select(DriftView).where(
                DriftView.image_id.in_(some),
                DriftView.model_id == model_id,
                DriftView.encoder_version == encoder,
            )
        )
        found |= {row.image_id: row for row in rows}
    return found


def frame_of(view: DriftView, group: str) -> Frame:
    """A row as the science takes it."""
    vector = np.frombuffer(view.vector, VECTOR).astype(np.float32)
    return Frame(group, vector, tuple(view.labels), np.asarray(view.sides, np.float32))


def _field() -> Select[str, str, str]:
    return (
        select(Image.id, Image.group, Image.name)
        .join(Observation, Observation.image_id == Image.id)
        .where(Image.role == Role.FIELD)
    )


def _reference(session: Session, start: datetime, settings: DriftSettings) -> dict[str, str]:
    most = settings.reference_images
    if settings.reference == "field":
        return _taken(session, _field().where(Observation.created_at < start), most)
    # What a model has learnt from it sees better: such a pool image is no fair comparison.
    learnt = select(Annotation.id).where(Annotation.image_id == Image.id).exists()
    images = select(Image.id, Image.group, Image.name)
    pool = _taken(session, images.where(Image.role == Role.POOL, ~learnt), most)
    if len(pool) >= settings.min_frames:
        return pool
    return _taken(session, images.where(Image.role == Role.SEED), most)


def _taken(session: Session, query: Select[str, str, str], most: int) -> dict[str, str]:
    rows = session.execute(query.order_by(Image.id).limit(most)).all()
    return {row.id: row.group for row in sorted(rows, key=lambda row: (row.group, row.name))}
