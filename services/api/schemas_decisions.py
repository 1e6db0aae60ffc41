"""What the API takes and answers about plans and people's decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator

from services.api.deps import MAX_ROW
from services.api.schemas import MAX_INT, Body, Row
from services.db.tables import DecisionKind

KindIn: TypeAlias = Annotated[DecisionKind, Field(strict=False)]
"""Bodies are strict, and JSON has no word for a kind but text."""
Hash: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Number: TypeAlias = Annotated[int, Field(ge=1, le=MAX_ROW)]
MOST_FAILURES, MOST_MODES = 10_000, 100


class PlanIn(Body):
    """A plan to compute; without values those of the settings."""

    policy: str | None = None
    budget_boxes: int | None = Field(default=None, ge=1, le=MAX_INT)


class PlanContent(Row):
    """What a cycle would ask for."""

    champion_id: str
    policy: str
    seed: int
    budget_boxes: int
    content: dict[str, Any] = Field(
        description="`modes` by falling size, `candidates` in the order of choice, `images` and "
        "`boxes` of them, `shares` of the budget, `note`: why nothing is asked for."
    )
    seconds: float
    made_at: datetime


class PlanOut(Row):
    """Where the plan of this moment stands."""

    id: str = Field(description="Approve it by this; another as soon as anything changes.")
    state: Literal["absent", "computing", "ready", "failed"]
    policy: str
    budget_boxes: int
    error: str
    plan: PlanContent | None = Field(description="Null until it is ready.")


class DecisionIn(Body):
    """Something that a person decides; which fields it takes depends on the kind."""

    kind: KindIn
    image_id: Hash | None = Field(default=None, description="Of `strike_image`.")
    mode_id: Number | None = Field(default=None, description="Of all kinds but `strike_image`.")
    modes: list[Number] = Field(
        default_factory=list, max_length=MOST_MODES, description="Merged into `mode_id`."
    )
    failures: list[Hash] = Field(
        default_factory=list,
        max_length=MOST_FAILURES,
        description="Of `split`: those that become a mode of their own. Of `strike_mode`: those of "
        "a mode that no cycle has seen and that has no number.",
    )
    name: str = Field(default="", max_length=160, description="Of `rename` and `split`.")
    note: str = Field(default="", max_length=2000, description="Why.")


class DecisionOut(Row):
    """What a person decided."""

    id: int
    kind: str
    mode_id: int | None
    image_id: str | None
    detail: dict[str, Any]
    note: str
    cycle_id: int | None = Field(description="The newest that had looked at modes by then.")
    actor: str
    created_at: datetime
    undone_at: datetime | None
    undone_by: str | None

    @field_validator("detail")
    @classmethod
    def without_places(cls, detail: dict[str, Any]) -> dict[str, Any]:
        """Places are many, and say nothing to anybody: how many there are."""
        shown = {key: value for key, value in detail.items() if key != "places"}
        return shown | ({"places": len(detail["places"])} if "places" in detail else {})
