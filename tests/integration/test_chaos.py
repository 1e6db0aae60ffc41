"""Workers, broker and relay die at random, and every unit is still done exactly once."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from benchmarks.common import light_stage
from benchmarks.common.kills import Chaos
from benchmarks.common.processes import StartServices
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services import units
from services.db.engine import reading
from services.db.tables import Audit, Unit, UnitState

pytestmark = pytest.mark.whole

logger = logging.getLogger(__name__)
WORKERS = {"explain": ("explain",), "extra": ("explain",), "default": ("default",)}


@pytest.mark.parametrize(
    ("database", "number", "kills", "seed"),
    [("sqlite_url", 300, 10, 1), ("postgres_url", 150, 8, 2)],
)
def test_units_survive_kills(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    services: StartServices,
    database: str,
    number: int,
    kills: int,
    seed: int,
) -> None:
    database_url = request.getfixturevalue(database)
    light_stage.register_stages()
    workers = {**QUICK_WORKERS, "max_lost": light_stage.MAX_ATTEMPTS}
    context = make_context(tmp_path / "p", database_url, workers=workers)
    up = services(context, WORKERS)
    started = time.monotonic()
    with context.sessions.begin() as session:
        for i in range(number):
            # Every fifth takes long, so that a kill meets it at work.
            units.enqueue(session, "light", f"l:{i}", {"seconds": 0.2 if i % 5 == 0 else 0.01})

    def ended() -> bool:
        with reading(context.sessions) as session:
            found = units.counts(session)
        return found["done"] + found["dead"] == number

    with Chaos(up, context, seed) as chaos:
        wait_until(lambda: ended() or sum(chaos.kills.values()) >= kills, 90, "the kills")
    wait_until(ended, 120, "all units ended")
    with reading(context.sessions) as session:
        states = {row[0] for row in session.execute(select(Unit.state).distinct())}
        query = select(Audit.subject, func.count()).group_by(Audit.subject)
        written = {row[0]: row[1] for row in session.execute(query)}
        retried = session.scalar(select(func.count()).where(Unit.lost > 0))
    took_s = round(time.monotonic() - started, 1)
    logger.warning("%s units again, %s s, kills %s", retried, took_s, dict(chaos.kills))
    assert states == {UnitState.DONE}
    assert len(written) == number
    assert set(written.values()) == {1}
    assert retried, "no kill met a running unit: the test has shown nothing"
    assert len(chaos.kills) >= 3, chaos.kills
    context.engine.dispose()
