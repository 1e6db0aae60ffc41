"""Keeps the lease of a unit while it runs."""

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
    """A thread that renews a claim until the block ends.

    A lease that is lost is not noticed in the middle of a computation, only when the stage asks
    with :meth:`check` or at the final write, which checks the token.
    """

    def __init__(self, context: Context, claim: Claim) -> None:
        self._context = context
        self._claim = claim
        self._lease_s = context.settings.workers.lease_s
        self._stop = threading.Event()
        self._lost: LeaseLost | None = None
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

    def check(self) -> None:
        """Tell whether the unit is still ours.

        Raises:
            LeaseLost: it is not; what was computed is of no use.
        """
        if self._lost is not None:
            raise self._lost

    def _keep(self) -> None:
        while not self._stop.wait(self._lease_s / RENEWALS):
            try:
                # Of its own: the stage may be computing, or deep in a transaction that is long.
                with self._context.sessions.begin() as session:
                    units.renew(session, self._claim, self._lease_s)
            except LeaseLost as error:
                self._lost = error
                return
            except SQLAlchemyError as error:
                logger.warning("the lease could not be renewed, trying again: %s", error)
