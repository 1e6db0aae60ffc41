"""The first detector, trained by the process that was asked for it.

The work is the unit that a worker would take, claimed and renewed in the same way, so that of two
commands, or a command and a worker, one trains and the other is told. A process that is killed
leaves a lease that runs out; whoever comes next goes on from its last epoch.
"""

from __future__ import annotations

import logging
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services import units
from services.accounts import audit
from services.context import Context
from services.db.base import utc_now
from services.db.tables import Model, Unit, UnitState
from services.errors import Conflict, LeaseLost
from services.models import registration, training
from services.units import Claim
from services.units.lease import LeaseKeeper

logger = logging.getLogger(__name__)


def train_here(
    context: Context, on_beat: Callable[[dict[str, Any]], None], again: bool = False
) -> Model:
    """Train the first detector in a process of this one and make it the champion.

    Args:
        context: wiring.
        on_beat: told the progress of the training process.
        again: another one from the beginning, though there is a champion.

    Returns:
        The model; a challenger, if another has become the champion meanwhile or finds more.

    Raises:
        Conflict: somebody else trains it, there is a champion, or nothing to train on.
        JobFailed: the training process ended in an error.
    """
    claim = _claim(context, again)
    try:
        with LeaseKeeper(context, claim) as keeper:

            def beat(state: dict[str, Any]) -> None:
                keeper.check()
                on_beat(state)

            trained = training.run(context, None, beat, fence=(claim.unit_id, claim.token))
        with context.sessions.begin() as session:
            units.finish(session, claim, {})  # first: who lost the lease registers nothing
            model = registration.register_first(session, trained)
            units.record_result(session, claim, registration.result_of(model, trained))
            return model
    except LeaseLost as error:
        raise Conflict(
            f"unit {claim.unit_id} was taken over while this process trained: `e2x units show "
            f"{claim.unit_id}` tells by whom"
        ) from error
    except BaseException as error:  # Ctrl-C too: the unit must not look as if somebody had it
        _give_up(context, claim, error)
        raise


def _claim(context: Context, again: bool) -> Claim:
    owner, lease_s = f"{socket.gethostname()}:{os.getpid()}", context.settings.workers.lease_s
    with context.sessions.begin() as session:
        unit = training.request(session, again)
        audit.record(session, "model.train", f"unit:{unit.id}")
        claim = units.claim(session, unit.id, owner, lease_s)
        if claim is None and units.park_exhausted(session, unit.id):
            training.request(session, again)  # a person who asks again means one more try
            claim = units.claim(session, unit.id, owner, lease_s)
        if claim is None:
            raise Conflict(_why_not(session, unit.id))
        return claim


def _why_not(session: Session, unit_id: int) -> str:
    unit = session.get_one(Unit, unit_id, populate_existing=True)
    show = f"`e2x units show {unit_id}`"
    now = utc_now()
    if unit.state == UnitState.LEASED and unit.lease_until is not None:
        left_s = max(1, round((unit.lease_until - now).total_seconds()))
        return (
            f"the first detector is being trained already, by {unit.owner}; {show} tells how it "
            f"goes. If that process was killed, `e2x train` goes on from its last epoch in {left_s}"
            " s, when its lease has run out"
        )
    if unit.state == UnitState.QUEUED:
        left_s = max(1, round((unit.not_before - now).total_seconds()))
        return f"the training failed and is to be tried again in {left_s} s; {show} has the reason"
    return f"unit {unit_id}, which trains the first detector, is {unit.state}; see {show}"


def _give_up(context: Context, claim: Claim, error: BaseException) -> None:
    """Park the unit with what happened; no worker is to go on by itself with what was stopped."""
    if isinstance(error, KeyboardInterrupt):
        code, text = "stopped", "stopped by hand; `e2x train` goes on from the last epoch"
    else:
        code = str(getattr(error, "code", "unexpected"))[:64]
        text = "".join(traceback.format_exception(error))
    try:
        with context.sessions.begin() as session:
            units.fail(session, claim, code, text, retryable=False, backoff_s=0.0)
    except (LeaseLost, SQLAlchemyError) as other:
        logger.warning("unit %d could not be parked: %s", claim.unit_id, other)
