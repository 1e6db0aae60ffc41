"""One unit from claim to commit, in this process, on each database."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.common.waiting import PATIENCE
from services import units
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import Audit, Unit, UnitState
from services.errors import InvalidRequest, LeaseLost
from services.models.training_process import JobFailed
from services.store.objects import StoreRefused, StoreUnavailable
from services.store.storage import DiskFull
from services.units import pipeline
from services.units.pipeline import Stage, StageContext, Store
from services.units.resident import Resident
from services.worker import reconciler, shell

SetWork = Callable[[Callable[[StageContext, units.Claim], Store]], None]


@pytest.fixture
def set_work() -> Iterator[SetWork]:
    """Registers a stage that does what the test gives it."""
    module = ModuleType("e2x_test_stage")
    sys.modules[module.__name__] = module
    pipeline.register(Stage("shell_test", "default", f"{module.__name__}:run", max_attempts=2))
    yield lambda function: setattr(module, "run", function)
    del pipeline.STAGES["shell_test"], sys.modules[module.__name__]


def store_row(session: Session) -> dict[str, Any]:
    session.add(Audit(actor="test", action="stored", subject="1"))
    return {"rows": 1}


def enqueue(context: Context) -> int:
    with context.sessions.begin() as session:
        return units.enqueue(session, "shell_test", "k", {}).id


def run_once(context: Context, unit_id: int) -> str:
    return shell.run(context, Resident(), unit_id, "me")


def unit_of(context: Context, unit_id: int) -> Unit:
    with reading(context.sessions) as session:
        return units.find(session, unit_id)


def rows(context: Context) -> int:
    with reading(context.sessions) as session:
        return session.scalar(select(func.count()).select_from(Audit)) or 0


def test_a_done_unit_has_its_rows_and_its_result(context: Context, set_work: SetWork) -> None:
    set_work(lambda _stage, _claim: store_row)
    unit_id = enqueue(context)
    assert run_once(context, unit_id) == "done"
    assert unit_of(context, unit_id).result == {"rows": 1}
    for _ in range(3):  # a message that comes again
        assert run_once(context, unit_id) == "skipped"
    assert rows(context) == 1


def test_a_store_that_fails_leaves_nothing(context: Context, set_work: SetWork) -> None:
    def store(session: Session) -> dict[str, Any]:
        store_row(session)
        session.flush()
        raise ValueError("in the store")

    set_work(lambda _stage, _claim: store)
    unit_id = enqueue(context)
    assert run_once(context, unit_id) == UnitState.QUEUED
    assert rows(context) == 0
    unit = unit_of(context, unit_id)
    assert unit.error_code == "unexpected"
    assert "in the store" in (unit.error or "")


def test_a_worker_that_lost_its_lease_stores_nothing(context: Context, set_work: SetWork) -> None:
    def lose(_stage: StageContext, claim: units.Claim) -> Store:
        with context.sessions.begin() as session:
            units.cancel(session, claim.unit_id)
        return store_row

    set_work(lose)
    unit_id = enqueue(context)
    assert run_once(context, unit_id) == "lost"
    assert rows(context) == 0
    assert unit_of(context, unit_id).state == UnitState.CANCELLED


@pytest.mark.parametrize(
    ("error", "outcome", "code", "says"),
    [
        (InvalidRequest("no such class"), "dead", "invalid_request", "no such class"),
        (ValueError("odd"), "queued", "unexpected", "ValueError: odd"),
        (MemoryError(), "queued", "out_of_memory", "make batches smaller"),
        (OSError(errno.ENOSPC, "full"), "queued", "disk_full", "free space"),
    ],
    ids=["not-retryable", "unknown", "memory", "disk"],
)
def test_an_error_says_what_to_do_with_its_unit(
    context: Context, set_work: SetWork, error: Exception, outcome: str, code: str, says: str
) -> None:
    def fail(_stage: StageContext, _claim: units.Claim) -> Store:
        raise error

    set_work(fail)
    unit_id = enqueue(context)
    assert run_once(context, unit_id) == outcome
    unit = unit_of(context, unit_id)
    assert unit.error_code == code
    assert says in (unit.error or "")


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "quota"),
        JobFailed("disk_full", "no space for its result", True),
        StoreUnavailable("s3://e2x/images does not answer"),
        StoreRefused("s3://e2x/images is refused"),
    ],
    ids=["disk", "quota", "training", "store away", "store refuses"],
)
def test_a_full_disk_uses_up_no_tries(context: Context, set_work: SetWork, full: Exception) -> None:
    """However long it is full, or a store is away: then the unit goes on by itself."""

    def fail(_stage: StageContext, _claim: units.Claim) -> Store:
        raise full

    set_work(fail)
    unit_id = enqueue(context)
    for _ in range(12):
        assert run_once(context, unit_id) == "queued"
        unit = unit_of(context, unit_id)
        code = getattr(full, "code", "disk_full")
        assert (unit.state, unit.attempts, unit.error_code) == ("queued", 0, code)
        assert unit.not_before > utc_now()  # not at once again
        with context.sessions.begin() as session:
            units.find(session, unit_id).not_before = utc_now()
    set_work(lambda _stage, _claim: store_row)
    assert run_once(context, unit_id) == "done"
    assert rows(context) == 1


def test_a_file_over_the_limit_of_the_process_is_no_full_disk(
    context: Context, set_work: SetWork
) -> None:
    """Waiting would not help."""

    def fail(_stage: StageContext, _claim: units.Claim) -> Store:
        try:
            raise OSError(errno.EFBIG, "too large")
        except OSError as error:
            raise DiskFull("no space left") from error

    set_work(fail)
    unit_id = enqueue(context)
    assert run_once(context, unit_id) == "queued"
    assert unit_of(context, unit_id).error_code == "file_limit"
    assert unit_of(context, unit_id).attempts == 1


def test_a_worker_told_to_stop_gives_the_unit_back(context: Context, set_work: SetWork) -> None:
    def stop(_stage: StageContext, _claim: units.Claim) -> Store:
        raise SystemExit(0)

    set_work(stop)
    unit_id = enqueue(context)
    with pytest.raises(SystemExit):
        run_once(context, unit_id)
    unit = unit_of(context, unit_id)
    assert (unit.state, unit.attempts) == (UnitState.QUEUED, 0)


def test_a_long_unit_keeps_its_lease(sqlite_context: Context, set_work: SetWork) -> None:
    context = sqlite_context
    context.settings.workers.lease_s = 0.3 * PATIENCE
    seen: list[int] = []

    def slow(stage: StageContext, claim: units.Claim) -> Store:
        until = time.monotonic() + 1.0 * PATIENCE
        while time.monotonic() < until:
            stage.heartbeat()
            seen.append(reconciler.reconcile(context, depth=lambda _queue: 0).requeued)
            time.sleep(0.02)
        return store_row

    set_work(slow)
    assert run_once(context, enqueue(context)) == "done"
    assert sum(seen) == 0


def test_the_heartbeat_tells_of_a_lost_lease(sqlite_context: Context, set_work: SetWork) -> None:
    context = sqlite_context
    context.settings.workers.lease_s = 0.3 * PATIENCE
    told: list[bool] = []

    def watch(stage: StageContext, claim: units.Claim) -> Store:
        with context.sessions.begin() as session:
            units.cancel(session, claim.unit_id)
        until = time.monotonic() + 20 * PATIENCE
        while time.monotonic() < until:
            try:
                stage.heartbeat()
            except LeaseLost:
                told.append(True)
                raise
            time.sleep(0.02)
        return store_row

    set_work(watch)
    assert run_once(context, enqueue(context)) == "lost"
    assert told == [True]
