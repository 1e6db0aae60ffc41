"""Wrong passwords are counted, by name and by address, and lock both for a while.

A try is counted before the password is looked at: of a thousand tries at once no more than the
limit are. It is taken back where the password was right. Names that nobody has are counted like
any other, so that a lock tells nobody which names there are.
"""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from services.config.settings import Settings
from services.db import races
from services.db.base import utc_now
from services.db.engine import Sessions
from services.db.tables import LoginTries
from services.errors import LockedOut


def of_name(name: str) -> str:
    """The key of a user's name."""
    return _key(f"name {name.casefold()}")


def of_address(address: str) -> str:
    """The key of an address."""
    return _key(f"address {address}")


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def count(sessions: Sessions, settings: Settings, name: str, address: str) -> None:
    """Count a try, unless there were too many.

    Args:
        sessions: of the database; the count is committed whatever comes of the try.
        settings: the limits.
        name: as it was typed.
        address: where it comes from; empty: not known, and not counted.

    Raises:
        LockedOut: says for how long.
    """
    limits = [(of_name(name), settings.accounts.lock_after)]
    if address:
        limits.append((of_address(address), settings.accounts.lock_address_after))
    lock = timedelta(seconds=settings.accounts.lock_s)
    races.in_transaction(sessions, lambda session: _count(session, sorted(limits), lock))


def _count(session: Session, limits: list[tuple[str, int]], lock: timedelta) -> None:
    now = utc_now()
    session.execute(delete(LoginTries).where(LoginTries.until < now))
    rows = [{"key": key, "count": 0, "until": now + lock} for key, _ in limits]
    races.insert_new(session, LoginTries, rows, ["key"])
    for key, limit in limits:
        # Locked, in one order: of tries at once each must see the one before.
        tries = session.get_one(LoginTries, key, with_for_update=True, populate_existing=True)
        if tries.count >= limit:
            raise LockedOut(_told(tries), _seconds_left(tries))
        tries.count += 1
        tries.until = now + lock


def _seconds_left(tries: LoginTries) -> int:
    return max(1, math.ceil((tries.until - utc_now()).total_seconds()))


def _told(tries: LoginTries) -> str:
    minutes = math.ceil(_seconds_left(tries) / 60)
    return (
        f"too many wrong passwords: try again in {minutes} minute{'s' * (minutes > 1)}; "
        "an admin lifts the lock of a name by `e2x users enable NAME`"
    )


def forgive(session: Session, key: str) -> None:
    """Forget all tries of a key."""
    session.execute(delete(LoginTries).where(LoginTries.key == key))


def take_back(session: Session, key: str) -> None:
    """Forget one try: a right password must not buy an address new guesses at other names."""
    session.execute(
        update(LoginTries)
        .where(LoginTries.key == key, LoginTries.count > 0)
        .values(count=LoginTries.count - 1)
    )
