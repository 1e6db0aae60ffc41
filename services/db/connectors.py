"""Tables of connected labelling tools: which there are, and which task went where."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, BigId, utc_now


class Connection(Base):
    """A labelling tool that tasks are sent to; its token lies in the state folder, not here."""

    __tablename__ = "connections"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    """``label-studio`` or ``cvat``."""
    url: Mapped[str] = mapped_column(String(500))
    project: Mapped[str | None] = mapped_column(String(64))
    """The tool's own number of its project; None until it is made or adopted."""
    adopted: Mapped[bool] = mapped_column(default=False)
    """Whether a person made that project: what it asks people is then theirs to change."""
    layout: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the tool calls its parts, and the classes that it knows."""
    pictures_url: Mapped[str] = mapped_column(String(500))
    """Where the browsers of those who label reach this service."""
    at_once: Mapped[int] = mapped_column(default=200)
    """Tasks that lie there unanswered at most."""
    secret: Mapped[str] = mapped_column(String(64))
    """Signs the addresses of pictures."""
    active: Mapped[bool] = mapped_column(default=True, index=True)
    cursor: Mapped[str | None] = mapped_column(String(64))
    """The newest change that was seen, as the tool tells time."""
    busy_until: Mapped[datetime | None]
    """While somebody exchanges with it; whoever died is waited for until then."""
    nudged_at: Mapped[datetime | None]
    """When somebody said that there is news."""
    tried_at: Mapped[datetime | None]
    synced_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    """When all tasks there were last counted, not only those that changed."""
    failures: Mapped[int] = mapped_column(default=0)
    """Exchanges in a row that failed."""
    error: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[list[Any]] = mapped_column(default=list)
    """What a person should know although all works."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SentState(StrEnum):
    """Where a task that was given to a tool stands."""

    SENDING = "sending"
    """Leased for the tool; whether it has arrived is not known."""
    SENT = "sent"
    ANSWERED = "answered"
    SKIPPED = "skipped"
    ENDED = "ended"
    """Nothing is expected of it any more: withdrawn, deleted there, or answered by another door."""


AWAITED = (SentState.SENDING, SentState.SENT)
"""Tasks that the tool holds a lease of."""


class SentTask(Base):
    """A label task in a tool: written with the lease, before the tool hears of it."""

    __tablename__ = "sent_tasks"
    __table_args__ = (
        UniqueConstraint("connection_id", "task_id"),
        Index("ix_sent_tasks_connection_id_state", "connection_id", "state"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connections.id"))
    task_id: Mapped[int] = mapped_column(ForeignKey("label_tasks.id"), index=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    token: Mapped[int]
    """Of the lease."""
    state: Mapped[str] = mapped_column(String(16), default=SentState.SENDING)
    remote_id: Mapped[str | None] = mapped_column(String(64))
    seen: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What was taken or refused: the tool's id of an answer, and its time."""
    annotation_id: Mapped[int | None] = mapped_column(ForeignKey("annotations.id"))
    """The answer that came from there last."""
    problem: Mapped[str | None] = mapped_column(Text)
    """Why what was said there is not stored."""
    note: Mapped[str | None] = mapped_column(Text)
    """What a person should know of what is stored."""
    loaded_at: Mapped[datetime | None]
    """When its picture was fetched first: nobody has seen it before."""
    expires_at: Mapped[datetime | None]
    """Until when the address of its picture is good."""
    sent_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
