"""The stages of the loop: their queues and what follows what, stated once.

::

    field frame ── scan ── explain ─┐
    pool image ─── embed ── index ──┤
                   score_pool ──────┴── select ─┬ (people label) ┬ train ── gate ── scan …
                                                └─ synthesize ───┘   └ train_drawn ┘

    a person asks ── explain_asked, neighbours, train_generator
    a day is over ── drift

A stage is a function ``run(stage_context, claim)`` that does the slow work and returns a
``Store``: a function that writes the rows. The shell calls the store in the same transaction that
marks the unit done, after it has checked that the lease is still held, so that a stale worker
writes nothing. Modules are named, not imported: the relay and the scheduler read this table and
must not load a network.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy.orm import Session

from services.context import Context

if TYPE_CHECKING:
    from services.units import Claim
    from services.units.resident import Resident

Store: TypeAlias = Callable[[Session], dict[str, Any]]
QUEUES = ("explain", "embed", "index", "train", "default")
EXTRA_STAGES_VARIABLE = "E2X_EXTRA_STAGES"


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage is handed.

    Attributes:
        context: settings, folders, sessions.
        resident: models that stay loaded in this process.
        heartbeat: renews the lease; the shell also does so by itself, a stage that supervises
            another process calls it to learn early that the lease is lost.
    """

    context: Context
    resident: Resident
    heartbeat: Callable[[], None]


StageFunction: TypeAlias = "Callable[[StageContext, Claim], Store]"


@dataclass(frozen=True, slots=True)
class Stage:
    """One kind of unit.

    Attributes:
        kind: name of the unit's kind.
        queue: which workers take it, by the hardware they need.
        function: ``module:name`` of the stage's function.
        max_attempts: tries before the unit is parked; None: the setting.
    """

    kind: str
    queue: str
    function: str
    max_attempts: int | None = None

    def load(self) -> StageFunction:
        """The function itself, imported on first use."""
        module, name = self.function.split(":")
        function: StageFunction = getattr(import_module(module), name)
        return function


STAGES: dict[str, Stage] = {
    stage.kind: stage
    for stage in (
        Stage("scan", "explain", "services.stages.scan:run"),
        Stage("explain", "explain", "services.stages.explain:run"),
        Stage("explain_asked", "explain", "services.stages.explain_asked:run"),
        Stage("embed", "embed", "services.stages.embed:run"),
        Stage("index", "index", "services.stages.index:run"),
        Stage("neighbours", "index", "services.stages.neighbours:run"),
        Stage("score_pool", "embed", "services.stages.score_pool:run"),
        Stage("drift", "embed", "services.stages.drift:run"),
        Stage("plan", "index", "services.stages.plan:run"),
        Stage("select", "index", "services.stages.select:run"),
        Stage("synthesize", "explain", "services.stages.synthesize:run"),
        Stage("train", "train", "services.stages.train:run", max_attempts=5),
        Stage("train_drawn", "train", "services.stages.train:run_drawn"),
        Stage("gate", "train", "services.stages.gate:run"),
        Stage("train_generator", "train", "services.stages.train_generator:run", max_attempts=5),
    )
}

FEEDS_SELECTION = ("scan", "explain", "embed", "index")
"""Kinds that a cycle waits for before it selects, if they were asked for before it began."""


def register(stage: Stage) -> None:
    """Add a stage, as a plug-in or a test does."""
    STAGES[stage.kind] = stage


def load_extra_stages() -> None:
    """Import the modules that ``E2X_EXTRA_STAGES`` names; each registers its stages."""
    for module in filter(None, os.environ.get(EXTRA_STAGES_VARIABLE, "").split(",")):
        import_module(module.strip())
