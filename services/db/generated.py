"""Tables of drawn samples: what was drawn from what, by whom, what became of it; who may draw."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, BigId, utc_now


class SampleState(StrEnum):
    """Where a drawn sample stands."""

    DRAWN = "drawn"
    """It passed the checks and waits for a person; nothing trains on it."""
    KEPT = "kept"
    """It joins the next dataset version."""
    REFUSED = "refused"
    """By a check, which leaves the row and no picture, or by a person."""
    WITHDRAWN = "withdrawn"
    """It was kept and joins no further version; models that learned from it keep theirs."""


class HarmRow(Base):
    """What hurt: pixels of a frame, which samples show around known objects. Never changed."""

    __tablename__ = "harms"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of all that follows."""
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    """The frame that gives the pixels."""
    failure_id: Mapped[str | None] = mapped_column(ForeignKey("failures.id"))
    """None of surroundings that do no harm, which controls show."""
    box: Mapped[list[Any]]
    """Of what was missed there, px: ``[x1, y1, x2, y2]``."""
    label: Mapped[str] = mapped_column(String(120))
    light: Mapped[bool]
    """Whether the colours of the object are part of what hurt."""
    colours: Mapped[list[Any] | None]
    """Lab mean and deviation that an object takes on, ``[[L, a, b], [L, a, b]]``, where they are
    not those of what stands in the box."""
    mask: Mapped[dict[str, Any]]
    """Which pixels: ``{"size": [H, W], "counts": [...]}``, COCO's uncompressed run lengths."""
    vacant: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether nothing stands in the box: a place of the pool, or a false detection."""


class GeneratedRow(Base):
    """A drawn sample with all that it follows from; refused ones stay, their pictures do not."""

    __tablename__ = "generated"
    __table_args__ = (
        UniqueConstraint("cycle_id", "key"),
        Index("ix_generated_state_id", "state", "id"),
        Index("ix_generated_mode_id_id", "mode_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(String(64))
    """Hash of the plan, the generator and its version: equal keys are equal pixels."""
    cycle_id: Mapped[int] = mapped_column(ForeignKey("cycles.id"))
    mode_id: Mapped[int] = mapped_column(ForeignKey("modes.id"))
    failure_id: Mapped[str | None] = mapped_column(ForeignKey("failures.id"))
    """Whose surroundings it shows; None of a control."""
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    """That finds the known object, and was asked whether it misses it here."""
    image_id: Mapped[str | None] = mapped_column(ForeignKey("images.id"), index=True)
    harm_id: Mapped[str] = mapped_column(ForeignKey("harms.id"))
    donor_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    """The picture of the known object; of a look-alike, the one that it was put into."""
    donor_box: Mapped[list[Any]]
    """Of the object there, or of the place that the look-alike was put at."""
    box: Mapped[list[Any] | None]
    """The same in the drawn picture, where that is another place; None: it is not."""
    staging: Mapped[str] = mapped_column(String(16))
    """A :class:`curation.synthesis.Staging`, such as ``surround``, or ``control``: the same
    operation with surroundings that do no harm."""
    generator: Mapped[str] = mapped_column(String(64))
    generator_version: Mapped[str] = mapped_column(String(64))
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    libraries: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Versions of those that its pixels follow from."""
    seed: Mapped[int]
    score_before: Mapped[float | None]
    """Of the known object in its own picture."""
    score_after: Mapped[float | None]
    checks: Mapped[list[Any]] = mapped_column(default=list)
    """``[{"name", "value", "bound", "passed", "reason"}]``."""
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it is refused or withdrawn, or what a person said of one that is kept."""
    decided_by: Mapped[str] = mapped_column(String(120), default="checks")
    """``checks``, ``gate``, or a person."""
    decided_at: Mapped[datetime] = mapped_column(default=utc_now)
    record: Mapped[str | None] = mapped_column(String(64))
    """Hash of the provenance that its picture file carries."""
    seconds: Mapped[float] = mapped_column(default=0.0)
    """Of processor time that drawing took."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class GeneratorRow(Base):
    """A network that was trained to draw on this project's own pictures."""

    __tablename__ = "generators"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of the weights that draw."""
    number: Mapped[int] = mapped_column(unique=True)
    """1, 2, 3 …: what people call it."""
    name: Mapped[str] = mapped_column(String(64))
    """Of who draws with it, such as ``bridge``."""
    folder: Mapped[str] = mapped_column(String(200))
    """Relative to the project's store."""
    dataset_version_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"))
    """Whose objects it has seen."""
    class_names: Mapped[list[Any]]
    steps: Mapped[int]
    training: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Recipe, size, windows, encoder, loss and seconds."""
    verdict: Mapped[dict[str, Any] | None]
    """What was measured of it, bars G1 and G6; None: nothing yet, so that nobody relies on it."""
    judged_by: Mapped[str] = mapped_column(String(120), default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
