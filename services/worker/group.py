"""Quick units, many from one claim to one commit.

::

    claim all ──► run one after the other, no transaction ──► one transaction: check the tokens,
                  │ (one thread renews all leases)            write all rows, move the cycles
                  └ takes longer than it should: the rest is given back

What :mod:`services.worker.shell` promises of one unit holds for each: a claim that was lost stores
nothing, an error is that unit's alone, and a process that dies has stored all or nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from services import tracing, units
from services.context import Context
from services.cycle import after_unit
from services.db.races import in_transaction
from services.telemetry.counts import ENDED, Recorder
from services.units import Claim
from services.units.lease import LeaseKeeper
from services.units.pipeline import Store
from services.units.resident import Resident
from services.worker import shell

logger = logging.getLogger(__name__)

HELD_S = 2.0
"""What of a group has not begun by then is slower than it was, and others may help with it."""

Computed = tuple[Claim, Store]


def run(
    context: Context,
    resident: Resident,
    unit_ids: Sequence[int],
    owner: str,
    recorder: Recorder | None = None,
) -> dict[int, str]:
    """Work on those of some units that can be had and were never tried.

    Args:
        context: wiring of this process.
        resident: models that stay loaded.
        unit_ids: the rows, of one kind.
        owner: name of this process.
        recorder: counts how long they took; None: nobody does.

    Returns:
        Of each unit that was taken what became of it, as :func:`services.worker.shell.run` says it.
    """
    with context.sessions.begin() as session:
        claims = units.claim_all(session, unit_ids, owner, context.settings.workers.lease_s)
    if not claims:
        return {}
    group = _Group(context, resident, claims)
    try:
        with LeaseKeeper(context, *claims) as keeper:
            group.compute(keeper)
        group.commit()
        group.give_back()
    except (SystemExit, KeyboardInterrupt):
        group.give_back()
        raise
    finally:
        group.tell(recorder)
    return group.outcomes


class _Group:
    """Claims, and what became of them.

    Attributes:
        outcomes: by number of the unit; of those that are missing nothing has become yet.
    """

    def __init__(self, context: Context, resident: Resident, claims: Sequence[Claim]) -> None:
        self.outcomes: dict[int, str] = {}
        self._context, self._resident = context, resident
        self._claims = claims
        self._computed: list[Computed] = []
        self._seconds: dict[int, float] = {}
        self._commit_s = 0.0

    def compute(self, keeper: LeaseKeeper) -> None:
        """Run the stage for one unit after the other, until that takes longer than it should.

        A process that is told to stop leaves by :class:`SystemExit`, in the middle of one.
        """
        shell.limit_threads(self._context, self._claims[0].kind)
        until = time.monotonic() + HELD_S
        for claim in self._claims:
            if self._seconds and time.monotonic() > until:
                left = len(self._claims) - len(self._seconds)
                logger.info("these units are slower than others were: %d given back", left)
                return
            with shell.unit_span(claim) as span, shell.bound(claim):
                self._compute_one(claim, keeper, span)

    def _compute_one(self, claim: Claim, keeper: LeaseKeeper, span: tracing.Span) -> None:
        logger.info("unit started")
        started = time.monotonic()
        try:
            heartbeat = partial(keeper.check, claim)
            with tracing.span(f"{claim.kind}: compute"):
                store = shell.compute(self._context, self._resident, claim, heartbeat)
            self._computed.append((claim, store))
        except Exception as error:
            outcome = shell.fail(self._context, claim, error)
            self.outcomes[claim.unit_id] = outcome
            span.set("e2x.outcome", outcome)
            span.fail(outcome)
        self._seconds[claim.unit_id] = time.monotonic() - started

    def commit(self) -> None:
        """End what was computed: all in one transaction, or one by one where that fails."""
        started = time.monotonic()
        try:
            held = in_transaction(self._context.sessions, self._finish) if self._computed else ()
        except Exception as error:  # of one of them, most likely: it must not cost the others
            logger.info("not together, one by one: %s", error)
            for claim, store in self._computed:
                with shell.bound(claim):
                    self.outcomes[claim.unit_id] = shell.commit(self._context, claim, store)
        else:
            for claim, _ in self._computed:
                mine = claim.unit_id in held
                self.outcomes[claim.unit_id] = "done" if mine else "lost"
        self._commit_s = time.monotonic() - started

    def _finish(self, session: Session) -> set[int]:
        held = units.finish_all(session, [claim for claim, _ in self._computed])
        ended = [one for one in self._computed if one[0].unit_id in held]
        units.record_results(session, {one[0].unit_id: _stored(session, *one) for one in ended})
        session.flush()
        claims = [claim for claim, _ in ended]
        # What a cycle asks for next is in the trace of one of those that it waited for.
        with tracing.within(claims[-1].traceparent if claims else None):
            after_unit.after_all(session, self._context, claims)
        return held

    def give_back(self) -> None:
        """Give back what has not ended, if there is any."""
        left = [one for one in self._claims if one.unit_id not in self.outcomes]
        if left:
            with self._context.sessions.begin() as session:
                units.release_all(session, left)
            self.outcomes |= {claim.unit_id: "given_back" for claim in left}

    def tell(self, recorder: Recorder | None) -> None:
        """Log the end of each unit, and count it; what their commit took is shared by all."""
        share_s = self._commit_s / max(1, len(self._computed))
        ended: list[float] = []
        for claim in self._claims:
            outcome = self.outcomes.get(claim.unit_id, "given_back")
            seconds = self._seconds.get(claim.unit_id, 0.0) + share_s
            with shell.bound(claim):
                if outcome == "lost":
                    logger.warning("dropped: the lease was lost")
                logger.info("unit %s", outcome, extra={"seconds": round(seconds, 3)})
            if outcome in ENDED:
                ended.append(seconds)
            if recorder is not None:
                recorder.note(claim.kind, outcome, seconds, claim.waited_s)
        if recorder is not None:
            if ended:  # in the mean: one that is slow among many says little of the others
                recorder.pace.took(self._claims[0].kind, sum(ended) / len(ended))
            recorder.send()


def _stored(session: Session, claim: Claim, store: Store) -> dict[str, Any]:
    """The rows of one unit, written in its own trace: what it asks for belongs there."""
    with tracing.span(f"{claim.kind}: store", parent=claim.traceparent):
        return store(session)
