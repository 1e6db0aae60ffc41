"""Cursors of lists: where the next page begins, told by the last row of this one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from services.errors import InvalidRequest

_BETWEEN = "~"
MAX_ROW = 2**53 - 1


def by_time(at: datetime, identity: str) -> str:
    """The cursor of a list by time and id."""
    return f"{at.isoformat()}{_BETWEEN}{identity}"


def read_time(cursor: str) -> tuple[datetime, str]:
    """Time and id of a cursor.

    Raises:
        InvalidRequest: it is not one of ours.
    """
    text, _, identity = cursor.partition(_BETWEEN)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest("before: follow the link of the page before") from error
    if at.tzinfo is None or not identity.isalnum():
        raise InvalidRequest("before: follow the link of the page before")
    return at, identity


def address(path: str, wanted: Mapping[str, Any], **more: Any) -> str:
    """An address with those of the parameters that say something."""
    said = {key: value for key, value in {**wanted, **more}.items() if value not in (None, "")}
    return f"{path}?{urlencode(said)}" if said else path
