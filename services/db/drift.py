"""Tables of drift: what was seen in single frames, and what a day came to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, utc_now


class DriftView(Base):
    """One frame as an encoder and a model see it; kept, since a reference is looked at each day."""

    __tablename__ = "drift_views"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True)
    model_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    encoder_version: Mapped[str] = mapped_column(String(64), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    """Embedding of the whole image, [D] float16, little-endian."""
    labels: Mapped[list[Any]] = mapped_column(default=list)
    """Class of each detection."""
    sides: Mapped[list[Any]] = mapped_column(default=list)
    """Square root of each detection's share of the image, in 0..1."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class DriftDay(Base):
    """A day of field frames against the reference."""

    __tablename__ = "drift_days"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    """``2026-11-28``, in UTC."""
    model_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    frames: Mapped[int]
    groups: Mapped[int]
    reference_groups: Mapped[int]
    can_tell: Mapped[bool]
    """False where there were too few groups for chance to be ruled out."""
    drifted: Mapped[bool]
    empty_share: Mapped[float]
    reference_empty_share: Mapped[float]
    figures: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """``{name: {"distance", "low", "high", "p_value", "drifted"}}``."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
