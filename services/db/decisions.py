"""Tables of what people decide about the loop: plans, modes and images, and second looks."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.db import actors
from services.db.base import Base, BigId, utc_now


class DecisionKind(StrEnum):
    """What a person decides; each holds until it is undone."""

    STRIKE_IMAGE = "strike_image"
    """An image is never proposed."""
    STRIKE_MODE = "strike_mode"
    """Nothing is spent on a failure mode."""
    MERGE = "merge"
    """Several failure modes are one."""
    SPLIT = "split"
    """Some failures of a mode are another mode."""
    RENAME = "rename"
    """A failure mode is called otherwise."""


STRIKES = (DecisionKind.STRIKE_IMAGE, DecisionKind.STRIKE_MODE)


class Decision(Base):
    """What a person decided, and why; undone by a date, never deleted."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(16), index=True)
    mode_id: Mapped[int | None] = mapped_column(ForeignKey("modes.id"), index=True)
    """The mode that it is about: that others are merged into, that is split, renamed or struck."""
    image_id: Mapped[str | None] = mapped_column(ForeignKey("images.id"), index=True)
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """``modes``: numbers of those merged into it; ``places``: where the failures lie that leave it,
    or of a mode that has no number yet; ``made``: number of the mode that a split made;
    ``name`` and ``before``."""
    note: Mapped[str] = mapped_column(Text, default="")
    """Why."""
    cycle_id: Mapped[int | None] = mapped_column(ForeignKey("cycles.id"))
    """The newest cycle that had looked at modes when it was made."""
    actor: Mapped[str] = mapped_column(String(120), default=lambda: actors.current().name)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    undone_at: Mapped[datetime | None] = mapped_column(index=True)
    undone_by: Mapped[str | None] = mapped_column(String(120))


class PlanRow(Base):
    """What a cycle would ask for, as it was chosen at one moment."""

    __tablename__ = "plans"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of everything that the choice follows from: while it is the same, so is the plan."""
    champion_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    policy: Mapped[str] = mapped_column(String(32))
    seed: Mapped[int]
    budget_boxes: Mapped[int]
    content: Mapped[dict[str, Any]]
    """Modes, candidates in the order of choice and a note, as
    :mod:`services.selection.plan_content` writes them."""
    members: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    """Failure ids by key of the mode."""
    seconds: Mapped[float] = mapped_column(default=0.0)
    made_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class LookState(StrEnum):
    """Where a second look stands."""

    WAITING = "waiting"
    """A second person shall answer."""
    AGREED = "agreed"
    DISPUTED = "disputed"
    """A reviewer shall settle it."""
    SETTLED = "settled"


class SecondLook(Base):
    """The two answers to one label task; truth is stored once it is decided."""

    __tablename__ = "second_looks"

    task_id: Mapped[int] = mapped_column(ForeignKey("label_tasks.id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), default=LookState.WAITING, index=True)
    first: Mapped[list[Any]] = mapped_column(default=list)
    """Objects of the first answer."""
    first_author: Mapped[str] = mapped_column(String(120))
    first_token: Mapped[int]
    """Of the lease that it came under: sent once more, it is known by that."""
    first_at: Mapped[datetime] = mapped_column(default=utc_now)
    second: Mapped[list[Any] | None]
    second_author: Mapped[str | None] = mapped_column(String(120))
    second_token: Mapped[int | None]
    second_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """By class of the first answer, or of the second where only that has it: ``[same, box, class,
    first, second]`` objects, see :mod:`curation.kernel.agreement`."""
    taken: Mapped[str | None] = mapped_column(String(8))
    """``first``, ``second`` or ``other``: whose boxes became the truth."""
    settled_by: Mapped[str | None] = mapped_column(String(120))
    settled_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(Text, default="")
