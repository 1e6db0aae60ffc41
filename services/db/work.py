"""Tables of the machinery: units of work, the outbox, pointers and the audit trail."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.db import actors
from services.db.base import Base, BigId, utc_now


class UnitState(StrEnum):
    """Where a unit of work stands; done, dead and cancelled are terminal."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


TERMINAL = (UnitState.DONE, UnitState.DEAD, UnitState.CANCELLED)


class Unit(Base):
    """One piece of work. The row owns the truth; a message only wakes somebody.

    ``key`` is made of the content (image hash, model, method, parameters), so that asking for the
    same work twice finds the same row. ``token`` grows with each claim: a worker's final write
    says ``WHERE token = mine`` and a stale worker changes nothing.
    """

    __tablename__ = "units"
    __table_args__ = (
        Index("ix_units_state_not_before", "state", "not_before"),
        Index("ix_units_cycle_state", "cycle_id", "state"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    queue: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16), default=UnitState.QUEUED)
    priority: Mapped[int] = mapped_column(default=0)
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    result: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(default=0)
    """Tries that ended by themselves, and the one that is under way."""
    lost: Mapped[int] = mapped_column(default=0)
    """Tries whose worker vanished: killed, out of memory, or a power cut."""
    max_attempts: Mapped[int] = mapped_column(default=3)
    token: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[datetime | None]
    queued_at: Mapped[datetime] = mapped_column(default=utc_now)
    """When ``not_before`` was set; in the future, if the clock was wrong then."""
    not_before: Mapped[datetime] = mapped_column(default=utc_now)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    cycle_id: Mapped[int | None] = mapped_column(ForeignKey("cycles.id"))
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """The span that asked for it, as W3C Trace Context writes it; None where nothing is traced."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


class UnitTotal(Base):
    """How many units of a cycle have ended in a state and were deleted since."""

    __tablename__ = "unit_totals"

    cycle_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    """0: of none."""
    state: Mapped[str] = mapped_column(String(16), primary_key=True)
    count: Mapped[int]


class Look(Base):
    """That a model has looked at a field image, once the unit that did is deleted."""

    __tablename__ = "looks"

    model_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    image_id: Mapped[str] = mapped_column(String(64), primary_key=True)


class Outbox(Base):
    """A message to send, committed together with the row change that it announces."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    unit_id: Mapped[int] = mapped_column(ForeignKey("units.id"), index=True)
    queue: Mapped[str] = mapped_column(String(32))
    priority: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    published_at: Mapped[datetime | None] = mapped_column(index=True)


class Pointer(Base):
    """A name for one row among many, such as the champion; swapped in one transaction."""

    __tablename__ = "pointers"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    target: Mapped[str] = mapped_column(String(80))
    version: Mapped[int] = mapped_column(default=1)


class Audit(Base):
    """Who did what, when, through which door; never changed, deleted by age.

    What the loop itself reads, such as which champion came before which, is kept
    (:mod:`services.accounts.audit`).
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    actor: Mapped[str] = mapped_column(String(120), default=lambda: actors.current().name)
    door: Mapped[str | None] = mapped_column(String(8), default=lambda: actors.current().door.value)
    """None in rows of before it was kept."""
    user_id: Mapped[int | None] = mapped_column(
        BigId, default=lambda: actors.current().user_id, index=True
    )
    """The account that did it, where one did."""
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(120), index=True)
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
