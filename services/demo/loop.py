"""The demo's steps, each through the doors that a user's own data takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sqlalchemy import func, select

from services.context import Context
from services.cycle import cycles
from services.db.engine import reading
from services.db.tables import (
    FINISHED_CYCLES,
    TERMINAL,
    Cycle,
    CycleState,
    Model,
    Role,
    Unit,
    UnitState,
)
from services.demo.annotator import Annotator, hidden_truth
from services.demo.client import check, report_frames
from services.demo.progress import Board
from services.errors import ServiceError
from services.intake.imports import import_dataset
from services.models import registry, training
from services.models.training_process import read_progress

POLL_S = 0.3
DEADLINE_S = 1800.0
"""No step of a demo of any sensible size takes so long; a hang must end in a message."""


@dataclass(frozen=True, slots=True)
class DemoLoop:
    """One project's way through the loop.

    Attributes:
        context: wiring of the project.
        client: of its API.
        world: folder with one COCO folder a split.
        board: progress bars.
    """

    context: Context
    client: httpx.Client
    world: Path
    board: Board

    def import_splits(self, *roles: Role) -> None:
        """Seed with labels, pool without, holdout and siblings for evaluation only."""
        for role in roles:
            with self.board.bar(f"import {role}", None) as bar:
                report = import_dataset(self.context, self.world / role, role, progress=bar.of)
            if report.problems:
                raise ServiceError(f"the world's {role} split has problems: {report.problems[:3]}")

    def train_first(self) -> Model:
        """The first detector, by the train worker; it becomes the champion."""
        with self.context.sessions.begin() as session:
            unit_id = training.request(session).id
        self._follow_training("train the first detector", None, lambda: self._ended(unit_id))
        self._require_done(unit_id)
        with reading(self.context.sessions) as session:
            return registry.require_champion(session)

    def report_field(self) -> int:
        """Send the field frames to the API, as a fleet would, and wait for the explanations."""
        with self.board.bar("report field frames", None) as bar:
            frames = report_frames(self.client, self.world / Role.FIELD, lambda n: bar.to(n))
        self.wait_idle("find and explain failures", ("scan", "explain"))
        return frames

    def wait_idle(self, title: str, kinds: tuple[str, ...]) -> None:
        """Wait until no unit of these kinds is open; a bar counts them down."""
        with self.board.bar(title, None) as bar:

            def idle() -> bool:
                with reading(self.context.sessions) as session:
                    total = _count(session, Unit.kind.in_(kinds))
                    done = _count(session, Unit.kind.in_(kinds), Unit.state.in_(TERMINAL))
                bar.of(done, total)
                return done == total

            _wait(idle, title)

    def run_cycle(self, policy: str, mistake_rate: float, seed: int) -> Cycle:
        """Start a cycle, answer its label tasks, and follow it to its end."""
        body = {"policy": policy, "seed": seed}
        number = check(self.client.post("/v1/cycles", json=body)).json()["id"]
        self.await_state(number, "embed the pool, search, select", CycleState.LABELLING)
        self._annotate(number, mistake_rate, seed)
        self._follow_training(
            f"cycle {number}: retrain", number, lambda: self._state(number) not in _TRAINING
        )
        self.await_state(number, "gate, then look at the field again", CycleState.DONE)
        with reading(self.context.sessions) as session:
            return cycles.find(session, number)

    def _annotate(self, cycle_id: int, mistake_rate: float, seed: int) -> None:
        if self._state(cycle_id) != CycleState.LABELLING:
            return
        with reading(self.context.sessions) as session:
            names = registry.require_champion(session).class_names[1:]
        pool = self.world / Role.POOL
        annotator = Annotator(
            client=self.client,
            truth=hidden_truth(pool / "annotations.json", pool),
            class_names=names,
            mistake_rate=mistake_rate,
            rng=np.random.default_rng(seed),
        )
        with self.board.bar(f"cycle {cycle_id}: label over the API", None) as bar:
            annotator.answer_all(cycle_id, lambda n: bar.to(n))

    def _follow_training(self, title: str, cycle_id: int | None, ended: Callable[[], bool]) -> None:
        folder = self.context.project.runs / training.run_name(cycle_id)
        with self.board.bar(title, None) as bar:

            def look() -> bool:
                beat = read_progress(folder)
                if beat and "steps" in beat:
                    bar.of(int(beat["step"]), int(beat["steps"]))
                return ended()

            _wait(look, title)

    def await_state(self, cycle_id: int, title: str, wanted: CycleState) -> None:
        """Wait until a cycle is in a state, or has ended.

        Raises:
            ServiceError: it failed.
        """
        with self.board.bar(f"cycle {cycle_id}: {title}", None) as bar:

            def there() -> bool:
                with reading(self.context.sessions) as session:
                    cycle = cycles.find(session, cycle_id)
                    total = _count(session, Unit.cycle_id == cycle_id)
                    done = _count(session, Unit.cycle_id == cycle_id, Unit.state.in_(TERMINAL))
                bar.of(done, total)
                if cycle.state in (CycleState.FAILED, CycleState.CANCELLED):
                    raise ServiceError(f"cycle {cycle_id} {cycle.state}: {cycle.error}")
                return cycle.state == wanted or cycle.state in FINISHED_CYCLES

            _wait(there, title)

    def _state(self, cycle_id: int) -> str:
        with reading(self.context.sessions) as session:
            return cycles.find(session, cycle_id).state

    def _ended(self, unit_id: int) -> bool:
        with reading(self.context.sessions) as session:
            return session.get_one(Unit, unit_id).state in TERMINAL

    def _require_done(self, unit_id: int) -> None:
        with reading(self.context.sessions) as session:
            unit = session.get_one(Unit, unit_id)
        if unit.state != UnitState.DONE:
            raise ServiceError(f"{unit.kind} ended as {unit.state}: {unit.error}")


_TRAINING = (CycleState.LABELLING, CycleState.TRAINING)


def _count(session: Any, *conditions: Any) -> int:
    return session.scalar(select(func.count()).select_from(Unit).where(*conditions)) or 0


def _wait(ready: Callable[[], bool], title: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        if time.monotonic() > deadline:
            raise ServiceError(f"{title}: not done after {DEADLINE_S:.0f} s; see the logs folder")
        time.sleep(POLL_S)
