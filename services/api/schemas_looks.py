"""Bodies of what people ask to see: explanations, neighbours, dataset versions side by side."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from services.api.schemas import Body, Row
from services.labeling.outcomes import Outcome


class QuestionIn(Body):
    """A number of the failed box."""

    what: Literal["class", "against", "left", "up", "wide", "high"] = Field(
        default="class",
        description="A class's score, the class against a rival, or how far the box is moved to "
        "the left, up, made wide or high.",
    )
    label: str | None = Field(default=None, max_length=120, description="Null: the failure's.")
    rival: str | None = Field(default=None, max_length=120, description="For `against`.")


class AskIn(Body):
    """Questions to one method; they share their passes."""

    method: str = Field(max_length=32)
    num_samples: int | None = Field(
        default=None, ge=4, le=20_000, description="Null: the method's own number."
    )
    questions: list[QuestionIn] = Field(default=[QuestionIn()], min_length=1, max_length=8)


class AskedOut(BaseModel):
    """An explanation that somebody asked for."""

    id: str
    question: str
    label: str
    rival: str | None
    method: str
    parameters: dict[str, Any]
    state: str = Field(description="`waiting`, `running`, `done`, `failed` or `given up`.")
    why: str = Field(description="It failed, in a line.")
    passes: int = Field(description="Thought to be needed by all that was asked together.")
    to_score: int | None
    scored: int
    regions: list[Any]
    score: float | None
    baseline_score: float | None
    seconds: float | None
    words: list[Any] = Field(description="What the map means, in sentences.")
    agreement: dict[str, Any] | None = Field(
        description="With the explanation that the loop works with: `spearman`, `top`."
    )
    asked_by: str
    created_at: datetime
    finished_at: datetime | None
    overlay: str | None = Field(description="Path of the drawing, null until it is answered.")


class NeighbourOut(BaseModel):
    """A region of a pool image that resembles one of a failure."""

    image_id: str
    name: str
    role: str = Field(description="Of the image now; it may have been labelled since.")
    box: list[float]
    region: int = Field(description="Which region of the failure, from 1; 0: the object itself.")
    similarity: float
    distance: float = Field(description="1 minus the similarity.")


class NeighboursOut(BaseModel):
    """What a failure's regions resemble in the pool."""

    state: str = Field(description="`never`, `waiting`, `failed` or `done`.")
    note: str
    items: list[NeighbourOut]


class PriceOut(BaseModel):
    """What a method would cost, or why it is not offered."""

    method: str
    offered: bool = Field(description="Whether it may be asked for.")
    why_not: str = Field(description="It is not offered, in a line; empty where it is.")
    passes: int | None = Field(
        description="Forward passes of one image; a pass back counts as two. Null: it takes no so "
        "many superpixels."
    )
    seconds: float | None = Field(description="An estimate; null until something has run here.")
    looks_inside: bool = Field(description="It works on layers; it answers about classes only.")
    takes_samples: bool


class GivenOut(Row):
    """An answer that somebody gave to a label task."""

    task_id: int
    image_id: str
    image_name: str
    cycle_id: int | None
    boxes: int | None = Field(description="Null while nobody else shall know.")
    at: datetime
    outcome: Outcome
    words: str = Field(description="What became of this answer.")


class DatasetOut(Row):
    """A dataset version."""

    id: str
    parent_id: str | None
    cycle_id: int | None
    images: int
    boxes: int
    created_at: datetime


class BoxesOf(BaseModel):
    """How many boxes of a class two versions have."""

    label: str
    before: int
    after: int


class DiffOut(BaseModel):
    """What changed between two dataset versions."""

    version: str
    against: str | None
    added: list[str] = Field(description="Image ids, the first of them.")
    removed: list[str]
    relabelled: list[str]
    counts: dict[str, int] = Field(description="Of each list, all of it.")
    boxes: list[BoxesOf]
