"""A kind of units that are quick, and many of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.db.engine import reading
from services.db.tables import Audit, Outbox, Unit
from services.units import pipeline
from services.units.batches import enqueue_all
from services.units.pipeline import Stage, StageContext, Store

KIND = "together_test"
LEASE_S = 60.0
Work = Callable[[StageContext, units.Claim], Store]


@pytest.fixture
def set_work() -> Iterator[Callable[[Work], None]]:
    """Registers a stage that does what the test gives it."""
    module = ModuleType("e2x_together_stage")
    sys.modules[module.__name__] = module
    pipeline.register(Stage(KIND, "explain", f"{module.__name__}:run"))
    module.run = writes  # type: ignore[attr-defined]
    yield lambda function: setattr(module, "run", function)
    del pipeline.STAGES[KIND], sys.modules[module.__name__]


def writes(_stage: StageContext, claim: units.Claim) -> Store:
    """One row that only the fence keeps from being written twice, and a result of its own."""

    def store(session: Session) -> dict[str, Any]:
        session.add(Audit(actor="test", action="stored", subject=str(claim.unit_id)))
        return {"unit": claim.unit_id}

    return store


def ask(context: Context, number: int) -> list[int]:
    with context.sessions.begin() as session:
        enqueue_all(session, KIND, {f"{KIND}:{i:03d}": {"number": i} for i in range(number)})
        return list(session.scalars(select(Unit.id).where(Unit.kind == KIND).order_by(Unit.id)))


def states(context: Context, ids: Sequence[int]) -> list[str]:
    with reading(context.sessions) as session:
        return [units.find(session, one).state for one in ids]


def messages(context: Context) -> Counter[int]:
    with reading(context.sessions) as session:
        return Counter(session.scalars(select(Outbox.unit_id)))
