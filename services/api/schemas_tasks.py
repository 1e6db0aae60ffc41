"""Bodies of labelling: tasks, answers, second answers and how far people agree."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from services.api.deps import MAX_ROW
from services.api.schemas import Body, ObjectIn, Row
from services.config.setting_groups import MOST_OBJECTS
from services.labeling.outcomes import Outcome


class LeaseIn(Body):
    """A wish for label tasks."""

    owner: str = Field(min_length=1, max_length=120)
    count: int = Field(default=1, ge=1, le=100)
    cycle_id: int | None = Field(default=None, ge=1, le=MAX_ROW)
    lease_s: float | None = Field(default=None, gt=0, le=86_400)


class TaskOut(Row):
    """One image to label, and why."""

    id: int
    cycle_id: int | None
    image_id: str
    state: str
    priority: float
    token: int = Field(description="Send it back with the answer.")
    owner: str | None
    lease_until: datetime | None
    prelabels: list[Any]
    reason: dict[str, Any]
    note: str | None
    outcome: Outcome = Field(
        description="What became of it: `second_look` has one answer and waits for another person, "
        "`undecided` has two that differ, `settled` was decided by a curator."
    )


class SubmitIn(Body):
    """The answer to a task; no objects says that there are none."""

    token: int
    objects: list[ObjectIn] = Field(max_length=MOST_OBJECTS)
    author: str = Field(default="", max_length=120)


class RenewIn(Body):
    """A lease that shall last longer."""

    token: int
    lease_s: float | None = Field(default=None, gt=0, le=86_400)


class CloseIn(Body):
    """A task that is skipped, rejected or given back."""

    token: int
    note: str = Field(default="", max_length=2000)


class AnnotationOut(Row):
    """A stored revision of labels, or an answer that another person has to agree with first."""

    id: int | None = Field(description="Null while it is undecided.")
    image_id: str
    revision: int | None
    objects: list[Any]
    author: str
    late: bool = Field(
        default=False,
        description="The cycle has gone on without it; it counts for the next dataset version.",
    )
    undecided: bool = Field(
        default=False,
        description="A second person answers this task too, or a curator has to settle it.",
    )
    outcome: Outcome = Field(description="What became of the task, as there.")


class SettleIn(Body):
    """How two answers that differ are settled."""

    taken: Literal["first", "second", "other", "reject"]
    objects: list[ObjectIn] = Field(
        default_factory=list, max_length=MOST_OBJECTS, description="Of `other`."
    )
    note: str = Field(default="", max_length=2000)


class LookOut(Row):
    """The two answers to one task."""

    task_id: int
    state: str
    first: list[Any]
    first_author: str
    second: list[Any] | None
    second_author: str | None
    taken: str | None
    settled_by: str | None
    note: str


class AgreementOut(BaseModel):
    """How often one says the same as another person."""

    who: str = Field(description="The labeller, empty for all.")
    label: str = Field(description="The class, empty for all.")
    images: int
    share: float | None = Field(description="Of the objects of either, those that both have alike.")
    same: int
    box: int = Field(description="Of one class, but the boxes overlap too little.")
    class_: int = Field(alias="class", description="Where the classes differ.")
    first: int = Field(description="Only in the first answer.")
    second: int = Field(description="Only in the second.")


class AgreementPage(BaseModel):
    """Agreement of all, by class, by labeller and by both."""

    items: list[AgreementOut]
