"""Tables of the loop: failures, attributions, cycles, candidates, label tasks."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, BigId, utc_now


class FailureState(StrEnum):
    """Where a failure stands."""

    FOUND = "found"
    EXPLAINED = "explained"
    FIXED = "fixed"
    """A later champion no longer makes it."""
    WITHDRAWN = "withdrawn"
    """What is said about the frame now no longer makes it one; it may be found again."""
    DISMISSED = "dismissed"
    """A person says that it is none; only a new report brings it back."""


TAKEN_BACK = (FailureState.WITHDRAWN, FailureState.DISMISSED)
"""No failures after all: neither counted nor shown, explained, selected or asked of a model."""


def _own_id(context: Any) -> str:
    """A failure that no earlier model made is the first at its place."""
    return str(context.get_current_parameters()["id"])


class FailureRow(Base):
    """One wrong detection of one model in one field frame."""

    __tablename__ = "failures"
    __table_args__ = (Index("ix_failures_created_at_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Content key: image, model, kind, box, class and default box."""
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    state: Mapped[str] = mapped_column(String(16), default=FailureState.FOUND, index=True)
    kind: Mapped[str] = mapped_column(String(32))
    label: Mapped[str] = mapped_column(String(120))
    predicted_label: Mapped[str | None] = mapped_column(String(120))
    mechanism: Mapped[str | None] = mapped_column(String(32))
    box: Mapped[list[Any]]
    score: Mapped[float]
    iou: Mapped[float]
    default_box: Mapped[int]
    truth_index: Mapped[int | None]
    proposed: Mapped[bool] = mapped_column(default=True)
    source: Mapped[str] = mapped_column(String(16), default="truth")
    """``truth`` or ``operator``."""
    fixed_by: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    place: Mapped[str] = mapped_column(String(64), default=_own_id, index=True)
    """Id of the first failure there: the same for every model that fails at this object, or that
    shows this false detection."""
    mode_id: Mapped[int | None] = mapped_column(ForeignKey("modes.id"), index=True)
    """The mode in which a cycle saw it last."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Explanation(Base):
    """The attribution of one failure and its regions; arrays lie in ``file`` (npz).

    The file holds ``segments`` [h, w] int32, ``values`` and ``standard_errors`` [S], ``masks`` and
    ``rings`` [R, h, w] bool, ``weights`` [R], ``vectors`` [R, D], ``object_vector`` [D],
    ``image_vector`` [D], and what the method has of ``pixels`` [h, w], ``region_values`` and
    ``region_errors`` [S]. ``regions`` repeats for people: ``[{"box": …, "weight": …}]``.
    """

    __tablename__ = "explanations"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Content key: failure, method, parameters, encoder."""
    failure_id: Mapped[str] = mapped_column(ForeignKey("failures.id"), index=True)
    method: Mapped[str] = mapped_column(String(32))
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    encoder_version: Mapped[str] = mapped_column(String(64))
    file: Mapped[str] = mapped_column(String(200))
    regions: Mapped[list[Any]] = mapped_column(default=list)
    score: Mapped[float]
    baseline_score: Mapped[float]
    seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Embedding(Base):
    """The regions of one pool image under one encoder; vectors lie in ``file`` and in the index."""

    __tablename__ = "embeddings"
    __table_args__ = (
        UniqueConstraint("image_id", "encoder_version"),
        Index("ix_embeddings_indexed_encoder", "indexed", "encoder_version"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    encoder_version: Mapped[str] = mapped_column(String(64))
    file: Mapped[str] = mapped_column(String(200))
    row: Mapped[int] = mapped_column(default=0)
    """Where in the file (one file holds a batch of images)."""
    regions: Mapped[int]
    indexed: Mapped[bool] = mapped_column(default=False)


class CycleState(StrEnum):
    """One turn of the loop; the last three are terminal."""

    EXPLAINING = "explaining"
    SELECTING = "selecting"
    LABELLING = "labelling"
    TRAINING = "training"
    GATING = "gating"
    VERIFYING = "verifying"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED_CYCLES = (CycleState.DONE, CycleState.FAILED, CycleState.CANCELLED)


class Cycle(Base):
    """One turn of the loop."""

    __tablename__ = "cycles"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(16), default="full")
    """``full``, or ``retrain`` (train and gate on the labels that are there)."""
    state: Mapped[str] = mapped_column(String(16), default=CycleState.EXPLAINING, index=True)
    policy: Mapped[str] = mapped_column(String(32))
    budget_boxes: Mapped[int]
    seed: Mapped[int] = mapped_column(default=0)
    plan_id: Mapped[str | None] = mapped_column(ForeignKey("plans.id"))
    """The plan that a person approved: it asks for that and nothing else."""
    trigger: Mapped[str] = mapped_column(String(32), default="person")
    champion_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    challenger_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    dataset_version_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"))
    rival_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    """The other challenger, where two were trained, with and without drawn samples: until the gate
    has chosen the one without, then the one that was not chosen."""
    boxes_labelled: Mapped[int] = mapped_column(default=0)
    drawing: Mapped[dict[str, Any] | None]
    """What came of drawing samples, as :mod:`services.cycle.drawing` tells it."""
    note: Mapped[str | None] = mapped_column(Text)
    """What the cycle has gone on without, and why."""
    decision: Mapped[dict[str, Any] | None]
    """The gate's verdict with its table of checks."""
    promoted: Mapped[bool | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


class CandidateRow(Base):
    """An image that a cycle asks a label for: of the pool, or a field frame that teaches."""

    __tablename__ = "candidates"
    __table_args__ = (UniqueConstraint("cycle_id", "image_id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    cycle_id: Mapped[int] = mapped_column(ForeignKey("cycles.id"), index=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    mode_id: Mapped[int | None] = mapped_column(ForeignKey("modes.id"), index=True)
    failure_id: Mapped[str | None] = mapped_column(ForeignKey("failures.id"), index=True)
    rank: Mapped[int]
    score: Mapped[float]
    reasons: Mapped[list[Any]] = mapped_column(default=list)
    """``[{"box": region in the pool image, "query_box": …, "failure": id, "similarity": …}]``."""


class TaskState(StrEnum):
    """Where a label task stands; submitted, skipped and rejected are terminal."""

    WAITING = "waiting"
    LEASED = "leased"
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    """The image is unusable; it leaves the pool."""
    DISPUTED = "disputed"
    """Two people have answered differently; a curator settles it."""


ASKED_TASKS = (TaskState.WAITING, TaskState.LEASED)
"""Those that wait for an answer."""
OPEN_TASKS = (*ASKED_TASKS, TaskState.DISPUTED)
"""Those that a cycle waits for."""


class LabelTask(Base):
    """One image that a person (or a tool) shall label."""

    __tablename__ = "label_tasks"
    __table_args__ = (
        UniqueConstraint("cycle_id", "image_id"),
        Index("ix_label_tasks_state_priority", "state", "priority"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    cycle_id: Mapped[int | None] = mapped_column(ForeignKey("cycles.id"), index=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    state: Mapped[str] = mapped_column(String(16), default=TaskState.WAITING)
    priority: Mapped[float] = mapped_column(default=0.0)
    prelabels: Mapped[list[Any]] = mapped_column(default=list)
    """The champion's detections, or what an operator said is there:
    ``[{"box", "label", "score"}]``."""
    reason: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """``{"mode": name, "failure", "label", "query_box", "matched_box", "overlay": url path}``."""
    owner: Mapped[str | None] = mapped_column(String(120))
    token: Mapped[int] = mapped_column(default=0)
    leased_at: Mapped[datetime | None]
    """When ``lease_until`` was set; in the future, if the clock was wrong then."""
    lease_until: Mapped[datetime | None]
    annotation_id: Mapped[int | None] = mapped_column(ForeignKey("annotations.id"))
    note: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]
