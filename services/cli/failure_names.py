"""How failures are called on the command line: by their id, or the begin of it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import FailureRow
from services.errors import NotFound

SHOWN_ID = 12
"""Characters of an id in a table; any unique beginning names a failure."""


def find_failure(session: Session, name: str) -> FailureRow:
    """A failure by its id or a unique beginning of it.

    Raises:
        NotFound: none, or several, match.
    """
    query = select(FailureRow).where(FailureRow.id.startswith(name, autoescape=True)).limit(2)
    found = session.scalars(query).all()
    if len(found) != 1:
        many = "several failures match" if found else "no failure matches"
        raise NotFound(f"{many} {name!r}: see `e2x failures list`")
    return found[0]
