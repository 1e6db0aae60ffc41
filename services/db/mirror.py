"""Tables of the mirror: what an MLflow server has been told of the models, and what not yet."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, utc_now

MLFLOW = "mlflow"


class Mirror(Base):
    """A server that is told of the models, and how the exchange with it stands."""

    __tablename__ = "mirrors"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    busy_until: Mapped[datetime | None]
    """While somebody tells it; whoever died is waited for until then."""
    tried_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]
    """When an exchange last came to its end."""
    failures: Mapped[int] = mapped_column(default=0)
    """Exchanges in a row that failed."""
    error: Mapped[str | None] = mapped_column(Text)


class MirroredModel(Base):
    """What is to be told of a model, and what has been.

    ``wanted`` is raised in the transaction that changes something about the model; whoever has told
    all of it writes the number that he read before into ``sent``. So nothing is forgotten, and ten
    changes while the server is away are told as one.
    """

    __tablename__ = "mirrored_models"

    model_id: Mapped[str] = mapped_column(
        String(64), ForeignKey("models.id"), primary_key=True, autoincrement=False
    )
    wanted: Mapped[int] = mapped_column(default=1)
    sent: Mapped[int] = mapped_column(default=0)
    run_id: Mapped[str | None] = mapped_column(String(64))
    """What the server calls the run."""
    version: Mapped[str | None] = mapped_column(String(32))
    """The server's number of the registered version."""
    failures: Mapped[int] = mapped_column(default=0)
    """Tries in a row that failed because of this model."""
    error: Mapped[str | None] = mapped_column(Text)
    tried_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
