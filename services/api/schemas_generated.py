"""Bodies of requests and answers about drawn samples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from services.api.deps import MAX_ROW
from services.api.schemas import Body, Row


class GeneratedOut(Row):
    """A drawn sample."""

    id: int
    key: str = Field(description="Equal keys are equal pixels.")
    cycle_id: int
    mode_id: int
    failure_id: str | None = Field(description="Whose surroundings it shows; null of a control.")
    model_id: str = Field(description="That was asked whether it misses the object here.")
    image_id: str | None = Field(description="Null where a check has refused it.")
    staging: str
    generator: str
    generator_version: str
    seed: int
    score_before: float | None
    score_after: float | None
    state: str
    reason: str
    decided_by: str
    decided_at: datetime
    created_at: datetime


class GeneratedDetail(GeneratedOut):
    """A drawn sample with all that it follows from."""

    mode: str
    parameters: dict[str, Any]
    libraries: dict[str, Any]
    donor: dict[str, Any] = Field(description="The picture of the known object, and its box.")
    harm: dict[str, Any] = Field(description="The frame that gave pixels, and which of them.")
    box: list[float] = Field(description="Where its object, or the look-alike, is drawn.")
    checks: list[Any]
    record: str | None = Field(description="Hash of what its picture file says of itself.")
    seconds: float
    picture: str | None


class DecideIn(Body):
    """Why a sample is kept or refused."""

    note: str = Field(default="", max_length=2000)


class WithdrawIn(Body):
    """Which samples leave further dataset versions: one of the three ways to name them."""

    ids: list[Annotated[int, Field(ge=1, le=MAX_ROW)]] = Field(default=[], max_length=500)
    cycle: int | None = Field(default=None, ge=1, le=MAX_ROW)
    generator: str | None = Field(default=None, min_length=1, max_length=130)
    note: str = Field(default="", max_length=2000)


class ChangedOut(Row):
    """How many samples a request has changed."""

    changed: int


class GeneratorOut(Row):
    """A network that was trained to draw."""

    number: int
    id: str = Field(description="Hash of its weights.")
    name: str
    dataset_version_id: str | None
    class_names: list[str]
    steps: int
    training: dict[str, Any]
    verdict: dict[str, Any] | None = Field(description="Bars G1 and G6; null: not measured.")
    judged_by: str
    why_not: str = Field(description="Why it is not relied on; empty where it is.")
    created_at: datetime


class TrainIn(Body):
    """How long a network is trained, in all."""

    steps: int = Field(default=20_000, ge=1, le=100_000_000)
    minutes: float | None = Field(default=None, gt=0, le=1e6)


class AskedOut(Row):
    """The unit of work that was asked for."""

    unit: int
