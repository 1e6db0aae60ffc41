"""One unit, from claim to commit; every stage runs inside this and none knows of Celery.

::

    claim ── no ──► drop the message
      │ yes
      ▼                        ┌ renews the lease
    run (slow, no transaction) ┘
      │ returns a store
      ▼
    one transaction: check the token, write the rows, move the cycle
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from services import logs, tracing, units
from services.context import Context
from services.cycle import after_unit
from services.db.base import utc_now
from services.db.races import in_transaction
from services.db.tables import UnitState
from services.errors import LeaseLost
from services.store.objects import StoreRefused, StoreUnavailable
from services.store.storage import DiskFull
from services.telemetry.counts import Recorder
from services.units import Claim, pipeline, threads
from services.units.lease import LeaseKeeper
from services.units.resident import Resident

logger = logging.getLogger(__name__)

DISK_FULL = DiskFull.code
SPACE_WAIT_S = 15.0
WAITED_FOR = {
    DISK_FULL: "the disk is full",
    StoreUnavailable.code: "the store does not answer",
    StoreRefused.code: "the store refuses",
}
"""No unit's fault: what is tried again until it works, by code."""


def run(
    context: Context,
    resident: Resident,
    unit_id: int,
    owner: str,
    recorder: Recorder | None = None,
) -> str:
    """Work on a unit if it can be had.

    Args:
        context: wiring of this process.
        resident: models that stay loaded.
        unit_id: the row.
        owner: name of this process.
        recorder: counts how long it took; None: nobody does.

    Returns:
        ``skipped``, ``done``, ``queued`` (to be tried again), ``dead`` or ``lost``.
    """
    claim = _claim(context, unit_id, owner)
    if claim is None:
        return "skipped"
    with unit_span(claim) as span, bound(claim):
        started, outcome = time.monotonic(), "given_back"  # as it is where this process must end
        logger.info("unit started")
        try:
            outcome = _run_claimed(context, resident, claim)
        finally:
            seconds = time.monotonic() - started
            span.set("e2x.outcome", outcome)
            if outcome != "done":
                span.fail(outcome)
            logger.info("unit %s", outcome, extra={"seconds": round(seconds, 3)})
            if recorder is not None:
                recorder.unit(claim.kind, outcome, seconds, claim.waited_s)
    return outcome


def unit_span(claim: Claim) -> AbstractContextManager[tracing.Span]:
    """A span around the unit, in the trace of what asked for it; each try has its own."""
    values = {
        "e2x.unit": claim.unit_id,
        "e2x.attempt": claim.attempt,
        "e2x.cycle": claim.cycle_id,
        "e2x.waited_s": claim.waited_s,
    }
    return tracing.span(claim.kind, parent=claim.traceparent, kind="consumer", values=values)


def bound(claim: Claim) -> AbstractContextManager[None]:
    """Lines that are logged inside say which unit they belong to."""
    payload = claim.payload
    return logs.bound(
        unit=claim.unit_id,
        stage=claim.kind,
        attempt=claim.attempt,
        cycle=claim.cycle_id,
        failure=payload.get("failure"),
        image=payload.get("image"),
        model=payload.get("model"),
    )


def _claim(context: Context, unit_id: int, owner: str) -> Claim | None:
    with context.sessions.begin() as session:
        claim = units.claim(session, unit_id, owner, context.settings.workers.lease_s)
        if claim is None:
            exhausted = units.park_exhausted(session, unit_id)
            if exhausted is not None:
                after_unit.after(session, context, exhausted)
    return claim


def _run_claimed(context: Context, resident: Resident, claim: Claim) -> str:
    try:
        return _compute_and_commit(context, resident, claim)
    except (SystemExit, KeyboardInterrupt):
        _give_back(context, claim)
        raise


def _compute_and_commit(context: Context, resident: Resident, claim: Claim) -> str:
    try:
        with LeaseKeeper(context, claim) as keeper, tracing.span(f"{claim.kind}: compute"):
            limit_threads(context, claim.kind)
            store = compute(context, resident, claim, keeper.check)
    except Exception as error:
        return fail(context, claim, error)
    with tracing.span(f"{claim.kind}: store"):
        return commit(context, claim, store)


def limit_threads(context: Context, kind: str) -> None:
    """Give a unit of a kind that computes its share of the cores."""
    if pipeline.STAGES[kind].queue in threads.COMPUTING:
        threads.limit(threads.available(context))


def compute(
    context: Context, resident: Resident, claim: Claim, heartbeat: Callable[[], None]
) -> pipeline.Store:
    """The slow part of a unit, outside of any transaction; whatever its stage raises passes."""
    function = pipeline.STAGES[claim.kind].load()
    return function(pipeline.StageContext(context, resident, heartbeat), claim)


def commit(context: Context, claim: Claim, store: pipeline.Store) -> str:
    """Write the rows of a unit and mark it done, or fail it; what has become of it."""
    try:
        _commit(context, claim, store)
    except Exception as error:
        return fail(context, claim, error)
    return "done"


def fail(context: Context, claim: Claim, error: Exception) -> str:
    """What an error, which is being handled, means for a unit: parked, or tried again."""
    if isinstance(error, LeaseLost):
        logger.warning("dropped: %s", error)
        return "lost"
    if isinstance(error, SoftTimeLimitExceeded):
        limit_s = context.settings.workers.soft_limit_s
        return _fail(context, claim, "time_limit", True, f"ran longer than {limit_s} s\n")
    code, retryable, advice = judge(error)
    return _fail(context, claim, code, retryable, advice)


def _commit(context: Context, claim: Claim, store: pipeline.Store) -> None:
    def finish(session: Session) -> None:
        units.finish(session, claim, {})  # first, so that a stale worker stores nothing
        units.record_result(session, claim, store(session))
        session.flush()
        after_unit.after(session, context, claim)

    in_transaction(context.sessions, finish)  # what was computed is not lost to a faster writer


def _give_back(context: Context, claim: Claim) -> None:
    try:
        with context.sessions.begin() as session:
            units.release(session, claim)
    except LeaseLost:
        logger.warning("told to stop; the lease was lost already")


def _wait(context: Context, claim: Claim, code: str, text: str) -> str:
    """Give a unit back until there is space, or the store answers; the try was not its fault."""
    try:
        with context.sessions.begin() as session:
            units.release(session, claim)
            unit = units.find(session, claim.unit_id)
            unit.not_before = utc_now() + timedelta(seconds=SPACE_WAIT_S)
            unit.error_code, unit.error = code, text[-units.MAX_ERROR_CHARS :]
    except LeaseLost as error:
        logger.warning("%s, and the unit was dropped: %s", code, error)
        return "lost"
    logger.warning("%s: tried again in %g s, as often as it takes", WAITED_FOR[code], SPACE_WAIT_S)
    return str(UnitState.QUEUED)


def _fail(context: Context, claim: Claim, code: str, retryable: bool, advice: str) -> str:
    text = advice + traceback.format_exc()
    if code in WAITED_FOR:
        return _wait(context, claim, code, text)
    backoff_s = context.settings.workers.backoff_s
    try:
        with context.sessions.begin() as session:
            state = units.fail(session, claim, code, text, retryable, backoff_s)
            if state == UnitState.DEAD:
                after_unit.after(session, context, claim)
    except LeaseLost as error:
        logger.warning("failed with %s, and dropped: %s", code, error)
        return "lost"
    level = logging.ERROR if state == UnitState.DEAD else logging.WARNING
    logger.log(level, "%s", code, exc_info=True)
    return str(state)


def judge(error: Exception) -> tuple[str, bool, str]:
    """What an error means for its unit: its code, whether to try again, and what to do.

    Errors of our own trees say so themselves. An unknown one may be a passing fault, so it is
    tried again as often as the unit allows.
    """
    if isinstance(error, MemoryError):
        advice = "out of memory: make batches smaller (explanation.batch_size), or add memory\n"
        return "out_of_memory", True, advice
    if _is_full_disk(error):
        return DISK_FULL, True, "the disk is full: free space, and the unit goes on by itself\n"
    if isinstance(error, DiskFull):
        advice = "a file is larger than this process may write: raise its limit (`ulimit -f`)\n"
        return "file_limit", True, advice
    code = getattr(error, "code", None)
    retryable = getattr(error, "retryable", None)
    if isinstance(code, str) and isinstance(retryable, bool):
        return code[:64], retryable, ""
    return "unexpected", True, ""


def _is_full_disk(error: BaseException) -> bool:
    """Whether waiting for space helps: not where a file is larger than this process may write."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, DiskFull):
        return error.__cause__ is None or _is_full_disk(error.__cause__)
    orig = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(orig, sqlite3.Error):
        return getattr(orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return False
