"""The table of what people asked to see explained, apart from what the loop works with."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, BigId, utc_now


class AskedExplanation(Base):
    """One question about a failure, to one method; the arrays of the answer lie in ``file`` (npz).

    The file holds what that of an explanation holds of the map, and ``boxes`` [2, 4]: the default
    box as it is placed, and where the regression moves it, px of the frame.

    Apart from :class:`~services.db.loop.Explanation`: what somebody looks at must not change what
    the next cycle searches for. The row is there from the moment of asking; a unit fills it.
    """

    __tablename__ = "asked_explanations"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Content key: failure, question, method, parameters, superpixels."""
    failure_id: Mapped[str] = mapped_column(ForeignKey("failures.id"), index=True)
    question: Mapped[str] = mapped_column(String(16))
    """A :class:`curation.explain.what.What`."""
    label: Mapped[str] = mapped_column(String(120))
    rival: Mapped[str | None] = mapped_column(String(120))
    method: Mapped[str] = mapped_column(String(32))
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """As they were asked for."""
    unit_id: Mapped[int | None] = mapped_column(BigId, index=True)
    """That answers it; units that have ended are deleted by age, so this is no foreign key."""
    passes: Mapped[int]
    """That it was thought to come to, with what was asked together with it."""
    to_score: Mapped[int | None]
    """Images that are scored on the way; None where the method works on layers."""
    scored: Mapped[int] = mapped_column(default=0)
    file: Mapped[str | None] = mapped_column(String(200))
    """None until it is answered."""
    regions: Mapped[list[Any]] = mapped_column(default=list)
    score: Mapped[float | None]
    baseline_score: Mapped[float | None]
    seconds: Mapped[float | None]
    """Of all that was asked together."""
    words: Mapped[list[Any]] = mapped_column(default=list)
    """Sentences for people."""
    agreement: Mapped[dict[str, Any] | None]
    """With the explanation that the loop works with: ``{"with": id, "spearman": …, "top": …}``."""
    asked_by: Mapped[str] = mapped_column(String(120), default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


class Neighbours(Base):
    """What the regions of one failure resemble in the pool, as somebody last had it looked up."""

    __tablename__ = "neighbours"

    failure_id: Mapped[str] = mapped_column(ForeignKey("failures.id"), primary_key=True)
    unit_id: Mapped[int | None] = mapped_column(BigId)
    """That looks them up; no foreign key, as units are deleted by age."""
    found: Mapped[list[Any] | None]
    """``[{"image": id, "box": [x1, y1, x2, y2], "similarity": …, "region": which}]``, nearest
    first; None until they are found."""
    note: Mapped[str] = mapped_column(String(300), default="")
    """Why nothing is found."""
    asked_by: Mapped[str] = mapped_column(String(120), default="")
    found_at: Mapped[datetime | None]
