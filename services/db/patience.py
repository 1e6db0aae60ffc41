"""How long others wait for a worker, and what they do when a clock has jumped.

Leases and waits end at a time of day, which a clock that was set wrong for a minute may have put
years ahead. So an end counts only while it can be right: a lease is renewed long before it ends, a
wait is minutes at most, and nothing can have begun in the future. What cannot be right is over.
Taking a unit too early costs little, since a claim's token keeps a second worker's result out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import Session

from services.db.tables import Unit, UnitState

if TYPE_CHECKING:
    from services.config.setting_groups import WorkerSettings

INFO = "patience"
"""Key of ``Session.info``."""
CLOCKS_DIFFER = timedelta(seconds=60)
"""Between machines: a time that is further ahead than this was read from a wrong clock."""
LEASE_SLACK = 2
"""So many times its length a lease may still last, where the worker's clock is ahead of ours."""
WAIT_AT_LEAST_S = 3600.0
"""A wait below this is believed in any case."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Settings of the workers that whoever looks at units goes by.

    Attributes:
        lease_s: length of a lease.
        longest_wait_s: after a failed try.
        max_lost: workers that may vanish with a unit before it is parked.
    """

    lease_s: float = 60.0
    longest_wait_s: float = WAIT_AT_LEAST_S
    max_lost: int = 10

    @staticmethod
    def of_settings(workers: WorkerSettings) -> Patience:
        """As it is set."""
        longest_s = workers.backoff_s * 2.0 ** min(workers.max_attempts + 1, 20)
        return Patience(workers.lease_s, max(WAIT_AT_LEAST_S, longest_s), workers.max_lost)

    @staticmethod
    def of(session: Session) -> Patience:
        """That of the process whose database connection this is."""
        found = session.info.get(INFO)
        return found if isinstance(found, Patience) else Patience()

    def is_due(self, now: datetime) -> ColumnElement[bool]:
        """Queued units whose wait is over, or cannot be right."""
        wait_over = or_(
            Unit.not_before <= now,
            Unit.queued_at > now + CLOCKS_DIFFER,
            Unit.not_before > now + timedelta(seconds=self.longest_wait_s),
        )
        return and_(Unit.state == UnitState.QUEUED, wait_over)

    def is_abandoned(self, now: datetime) -> ColumnElement[bool]:
        """Leased units whose lease is over, was never given an end, or ends when none can."""
        lease_over = or_(
            Unit.lease_until.is_(None),
            Unit.lease_until < now,
            Unit.lease_until > now + timedelta(seconds=LEASE_SLACK * self.lease_s),
        )
        return and_(Unit.state == UnitState.LEASED, lease_over)
