"""Tables of failure modes: what lasts, what each cycle saw of it, and which failures it has."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from curation.modes.dealing import Side
from curation.modes.states import ModeState
from services.db.base import Base, BigId, utc_now


class ModeRow(Base):
    """A failure mode over all cycles; every change of its state is in the audit trail."""

    __tablename__ = "modes"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(160), unique=True)
    """What people call it, such as "missed car 2"; people may rename it."""
    family: Mapped[str] = mapped_column(String(16))
    """``missed`` or ``false``."""
    label: Mapped[str] = mapped_column(String(120))
    state: Mapped[str] = mapped_column(String(16), default=ModeState.OPEN, index=True)
    opened_cycle_id: Mapped[int] = mapped_column(ForeignKey("cycles.id"))
    """In which it was opened or re-opened last: what was asked for before does not count."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ModeSighting(Base):
    """A failure mode as one cycle saw it."""

    __tablename__ = "mode_sightings"
    __table_args__ = (UniqueConstraint("cycle_id", "mode_id"), UniqueConstraint("cycle_id", "key"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    cycle_id: Mapped[int] = mapped_column(ForeignKey("cycles.id"), index=True)
    mode_id: Mapped[int] = mapped_column(ForeignKey("modes.id"), index=True)
    key: Mapped[str] = mapped_column(String(64))
    """Hash of its failures."""
    kind: Mapped[str] = mapped_column(String(32))
    size: Mapped[int]
    joined: Mapped[int] = mapped_column(default=0)
    """Failures at places where none of it was known before."""
    exemplars: Mapped[list[Any]] = mapped_column(default=list)
    """Failure ids, the most typical first."""
    found_before: Mapped[float | None]
    """Share of its failures that the champion gets right (0 when the mode is made)."""
    found_after: Mapped[float | None]
    """The same for the challenger."""
    file: Mapped[str | None] = mapped_column(String(200))
    """Its pooled regions (npz): ``vectors`` [Q, D], ``weights`` [Q], ``object_vector`` [D]."""
    encoder_version: Mapped[str | None] = mapped_column(String(64))


class ModeMember(Base):
    """A failure that a cycle saw in a mode."""

    __tablename__ = "mode_members"

    sighting_id: Mapped[int] = mapped_column(ForeignKey("mode_sightings.id"), primary_key=True)
    failure_id: Mapped[str] = mapped_column(ForeignKey("failures.id"), primary_key=True, index=True)


class FieldSide(Base):
    """What a group of field frames does: teach or judge; see ``curation.modes.dealing``.

    Rows are added, never changed: a group that once taught judges nothing in any later cycle.
    """

    __tablename__ = "field_sides"

    group: Mapped[str] = mapped_column(String(120), primary_key=True)
    """The images' group; of a frame without one its id."""
    side: Mapped[Side] = mapped_column(String(8))
    cycle_id: Mapped[int] = mapped_column(ForeignKey("cycles.id"), index=True)
    """Which dealt it."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
