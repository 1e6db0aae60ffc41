"""Tables of the data: images, annotations, observations, dataset versions, models."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, BigId, utc_now


class Role(StrEnum):
    """What an image may be used for."""

    SEED = "seed"
    """Labelled start set; trained on."""
    POOL = "pool"
    """Unlabelled; may be selected, and once labelled is trained on."""
    FIELD = "field"
    """Frames from use; failures are looked for in them. Those of groups that were dealt to teach
    are trained on (:mod:`services.db.sides`), all others never."""
    HOLDOUT = "holdout"
    """Evaluation only, never selectable."""
    SIBLINGS = "siblings"
    """Evaluation only: frames with the causes of the field's failures, never selectable."""
    GENERATED = "generated"
    """Drawn for a failure mode; trained on while it is kept (:mod:`services.db.generated`). Never
    selected, never evaluated on, never a known object, never looked at as a frame."""


EVALUATION_ROLES = (Role.HOLDOUT, Role.SIBLINGS)


class Image(Base):
    """A stored image, named by the hash of its bytes."""

    __tablename__ = "images"
    __table_args__ = (
        Index("ix_images_role_id", "role", "id"),
        Index("ix_images_role_group", "role", "group"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    file: Mapped[str] = mapped_column(String(120))
    """Relative to the image store."""
    name: Mapped[str] = mapped_column(String(300))
    """As the user called it; shown, never opened."""
    width_px: Mapped[int]
    height_px: Mapped[int]
    perceptual_hash: Mapped[str] = mapped_column(String(16))
    """64 bits as hexadecimal digits; databases have no unsigned 64-bit integer."""
    group: Mapped[str] = mapped_column(String(120), default="")
    source: Mapped[str] = mapped_column(String(120), default="import")
    attributes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class TruthSource(StrEnum):
    """Who said what the truth of an image is."""

    IMPORT = "import"
    """A file that was imported; the next import of the image may put another in its place."""
    PERSON = "person"
    """An answer, a correction or the words about a frame; no import takes its place unasked."""
    DRAWN = "drawn"
    """Known from how the image was drawn."""


class Annotation(Base):
    """One revision of the truth of one image; revisions are added, never changed.

    ``objects`` is a list of ``{"box": [x1, y1, x2, y2], "label": name, "ignore": bool}`` in px of
    the original image. The greatest revision counts. :mod:`services.db.revisions` adds them.
    """

    __tablename__ = "annotations"
    __table_args__ = (UniqueConstraint("image_id", "revision"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    revision: Mapped[int] = mapped_column(default=1)
    objects: Mapped[list[Any]] = mapped_column(default=list)
    author: Mapped[str] = mapped_column(String(120), default="import")
    source: Mapped[str] = mapped_column(String(16), default=TruthSource.PERSON)
    cycle_id: Mapped[int | None] = mapped_column(ForeignKey("cycles.id"), index=True)
    origin: Mapped[str | None] = mapped_column(String(64))
    """The failure that asked for this label."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class LabelUse(Base):
    """A class that the newest truth of an image names; :mod:`services.db.label_uses` keeps it.

    Derived from the annotations, so that nobody reads them all to know which classes there are.
    Field frames have no rows: they do not decide which classes there are.
    """

    __tablename__ = "label_uses"
    __table_args__ = (Index("ix_label_uses_role_ignored_label", "role", "ignored", "label"),)

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True)
    label: Mapped[str] = mapped_column(String(120), primary_key=True)
    ignored: Mapped[bool] = mapped_column(primary_key=True)
    """Of an object that counts neither way; a class may be used in both ways in one image."""
    role: Mapped[str] = mapped_column(String(16))
    """The image's, which never changes."""


class Observation(Base):
    """A field frame as it was reported: with truth (an annotation), or with an operator's words.

    ``reports`` is a list of ``{"kind": "missed" | "false", "box": [...], "label": name}``.
    """

    __tablename__ = "observations"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), unique=True)
    reports: Mapped[list[Any]] = mapped_column(default=list)
    has_truth: Mapped[bool] = mapped_column(default=False)
    reporter: Mapped[str] = mapped_column(String(120), default="")
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """The request that reported it last, as W3C Trace Context writes it."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class DatasetVersion(Base):
    """An immutable manifest, named by its own hash."""

    __tablename__ = "dataset_versions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"))
    cycle_id: Mapped[int | None]
    """No foreign key: cycles refer to this table, and a ring of keys cannot be created."""
    file: Mapped[str] = mapped_column(String(120))
    images: Mapped[int]
    boxes: Mapped[int]
    generated: Mapped[int] = mapped_column(default=0, server_default="0")
    """How many of the images were drawn."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ModelState(StrEnum):
    """Where a model stands."""

    CHALLENGER = "challenger"
    CHAMPION = "champion"
    RETIRED = "retired"
    REJECTED = "rejected"


class Model(Base):
    """A trained detector in the registry."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The detector's version: hash of weights and configuration."""
    number: Mapped[int] = mapped_column(unique=True)
    """1, 2, 3 …: what people call it."""
    state: Mapped[str] = mapped_column(String(16), default=ModelState.CHALLENGER)
    folder: Mapped[str] = mapped_column(String(200))
    """Relative to the project."""
    architecture: Mapped[str] = mapped_column(String(64))
    class_names: Mapped[list[Any]]
    dataset_version_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    cycle_id: Mapped[int | None]
    """No foreign key: cycles refer to this table, and a ring of keys cannot be created."""
    training: Mapped[dict[str, Any]] = mapped_column(default=dict)
    reports: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Evaluation summary by split: ``{"holdout": {"map": …, "map50": …}, …}``."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
