"""Keeps the leases of units while they run."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from services import units
from services.context import Context
from services.errors import LeaseLost
from services.units import Claim

logger = logging.getLogger(__name__)

RENEWALS = 3
"""Renewals within one lease: one may fail, as by a database that restarts."""


class LeaseKeeper:
    """A thread that renews claims until the block ends, all of them in one statement.

    A lease that is lost is not noticed in the middle of a computation, only when the stage asks
    with :meth:`check` or at the final write, which checks the token.
    """

    def __init__(self, context: Context, *claims: Claim) -> None:
        self._context = context
        self._claims = claims
        self._lease_s = context.settings.workers.lease_s
        self._stop = threading.Event()
        self._lost: set[int] = set()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self, claim: Claim | None = None) -> None:
        """Tell whether a unit is still ours.

        Args:
            claim: of the unit; None: the first.

        Raises:
            LeaseLost: it is not; what was computed is of no use.
        """
        asked = self._claims[0] if claim is None else claim
        if asked.unit_id in self._lost:
            raise LeaseLost(f"unit {asked.unit_id} is no longer held by token {asked.token}")

    def _keep(self) -> None:
        while not self._stop.wait(self._lease_s / RENEWALS):
            try:
                # Of its own: the stage may be computing, or deep in a transaction that is long.
                with self._context.sessions.begin() as session:
                    held = units.renew_all(session, self._ours(), self._lease_s)
            except SQLAlchemyError as error:
                logger.warning("the lease could not be renewed, trying again: %s", error)
            else:
                self._lost |= {claim.unit_id for claim in self._claims} - held
                if not held:
                    return

    def _ours(self) -> list[Claim]:
        return [claim for claim in self._claims if claim.unit_id not in self._lost]
