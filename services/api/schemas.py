"""Bodies of requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Box = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="[x1, y1, x2, y2] in pixels of the image."),
]
Item = TypeVar("Item")
MAX_INT = 2**31 - 1
MAX_LABEL = 300


class Body(BaseModel):
    """A request; an unknown field is an error, since it is most often a typing slip.

    Nothing is taken for what it is not: "12" is no number, 1 is no flag.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


class Row(BaseModel):
    """An answer made from a row."""

    model_config = ConfigDict(from_attributes=True)


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None = Field(default=None, description="Cursor of the next page, null at the end.")


class Error(BaseModel):
    """What every failed request answers."""

    code: str
    message: str


class ObjectIn(Body):
    """One object in an image."""

    box: Box
    label: str = Field(min_length=1, max_length=MAX_LABEL)
    ignore: bool = False


class ReportIn(Body):
    """What an operator saw: "missed a car here", or "this is no car"."""

    kind: Literal["missed", "false"]
    box: Box
    label: str = Field(min_length=1, max_length=MAX_LABEL)


class FrameOut(Row):
    """A field frame."""

    id: int
    image_id: str
    has_truth: bool
    reports: list[Any]
    created_at: datetime
    held: str | None = Field(
        default=None, description="Why the champion's failures on it wait unexplained, if they do."
    )


class DismissIn(Body):
    """Why something that was found is no failure."""

    note: str = Field(default="", max_length=2000)


class FailureOut(Row):
    """One wrong detection."""

    id: str
    image_id: str
    model_id: str
    state: str
    kind: str
    label: str
    predicted_label: str | None
    mechanism: str | None
    box: list[float]
    score: float
    iou: float
    proposed: bool
    source: str
    mode_id: int | None
    created_at: datetime


class ExplanationOut(Row):
    """Why a failure happened."""

    id: str
    method: str
    parameters: dict[str, Any]
    regions: list[Any]
    score: float
    baseline_score: float
    seconds: float


class FailureDetail(FailureOut):
    """A failure with its explanations."""

    explanations: list[ExplanationOut]
    overlay: str | None = Field(description="Path of the drawing, null until it is explained.")


class ModeSize(BaseModel):
    """How many failures a cycle saw in a mode."""

    cycle: int
    size: int


class ModeOut(BaseModel):
    """A failure mode over the cycles."""

    id: int
    name: str = Field(description="What people call it.")
    state: str
    family: str
    kind: str = Field(description="Of most of its failures when it was seen last.")
    label: str
    size: int = Field(description="Failures that the newest cycle saw.")
    places: int = Field(description="Where its failures lie, of all cycles, in frames that judge.")
    failing: int = Field(description="Of these, where the champion fails now.")
    teaching: int = Field(description="Where its failures lie in frames that teach.")
    asked: int = Field(description="Pool images asked for since it was opened or re-opened.")
    trend: list[ModeSize]
    exemplars: list[str] = Field(description="Failure ids, the most typical first.")
    created_at: datetime


class ModeChangeOut(BaseModel):
    """One step of a mode's state."""

    at: datetime
    cycle: int
    state: str
    why: str


class ModeDetail(ModeOut):
    """A failure mode with the failures that show it best."""

    failures: list[FailureOut]
    overlays: list[str] = Field(description="Paths of their drawings.")
    changes: list[ModeChangeOut]


class CycleIn(Body):
    """A cycle to start."""

    kind: Literal["full", "retrain"] = "full"
    policy: str | None = None
    budget_boxes: int | None = Field(default=None, ge=1, le=MAX_INT)
    seed: int | None = Field(default=None, ge=0, le=MAX_INT)
    anyway: bool = Field(
        default=False,
        description="Explain the champion's failures first, where they wait because it finds less "
        "of the holdout than `explanation.min_recall`.",
    )


class UnreadableOut(Row):
    """Images that could not be read, by what went on without them; one may count in several."""

    embed: int = Field(default=0, description="Pool images that cannot be searched.")
    score_pool: int = Field(default=0, description="Pool images not looked at.")
    train: int = Field(default=0, description="Labelled images not trained on.")
    evaluate: int = Field(default=0, description="Evaluation images not judged by.")


class CycleOut(Row):
    """One turn of the loop."""

    id: int
    kind: str
    state: str
    policy: str
    budget_boxes: int
    boxes_labelled: int
    trigger: str
    champion_id: str | None
    challenger_id: str | None
    plan_id: str | None = Field(description="The plan that was approved for it.")
    rival_id: str | None = Field(
        description="The other challenger, where it was trained with and without drawn samples."
    )
    drawing: dict[str, Any] | None = Field(description="What came of drawing samples.")
    note: str | None = Field(description="What the cycle has gone on without.")
    promoted: bool | None
    decision: dict[str, Any] | None
    error: str | None
    unreadable: UnreadableOut | None = Field(
        default=None, description="Null in the list: counting goes over all units of a cycle."
    )
    created_at: datetime
    finished_at: datetime | None


class ModelOut(Row):
    """A model of the registry."""

    id: str
    number: int
    state: str
    architecture: str
    class_names: list[str]
    dataset_version_id: str | None
    parent_id: str | None
    cycle_id: int | None
    reports: dict[str, Any]
    unreadable: UnreadableOut = UnreadableOut()
    created_at: datetime
    limits: list[str] = Field(
        default=[], description="What it cannot do; only where one model is asked for."
    )
    held: str | None = Field(
        default=None, description="Why its failures wait unexplained, if they do; the same."
    )
    pinned: bool = Field(default=False, description="Whether nothing takes its place.")


class UnitOut(Row):
    """A unit of work."""

    id: int
    kind: str
    queue: str
    state: str
    attempts: int
    max_attempts: int
    error_code: str | None
    error: str | None
    payload: dict[str, Any]
    cycle_id: int | None
    created_at: datetime
    finished_at: datetime | None
