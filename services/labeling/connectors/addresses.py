"""Addresses of pictures for labelling tools: signed, for a time, named by the content hash.

A tool's page loads pictures without our cookies and tokens, and exports keep only the last part of
an address.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from pathlib import Path

from services.accounts.secrets import derived
from services.db.base import utc_now
from services.db.tables import Connection, Image
from services.errors import NotFound

PREFIX = "/i"
_SIGNED = re.compile(r"([0-9]{1,18})-([0-9]{1,12})-([0-9a-f]{64})")
_NAME = re.compile(r"([0-9a-f]{64})\.[a-z]{3,4}")
SHOWN = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_NO_SUCH = "no such picture"


def address_of(connection: Connection, image: Image, until: datetime) -> str:
    """The whole address of a picture, good until then."""
    suffix = Path(image.file).suffix.lower()
    name = f"{image.id}{suffix if suffix in SHOWN else '.jpg'}"
    seconds = int(until.timestamp())
    signed = f"{connection.id}-{seconds}-{_signature(connection, image.id, seconds)}"
    return f"{connection.pictures_url}{PREFIX}/{signed}/{name}"


def connection_of(signed: str) -> int:
    """The number of the connection that an address speaks of; nothing is proved by that.

    Raises:
        NotFound: it is no such address.
    """
    found = _SIGNED.fullmatch(signed)
    if found is None:
        raise NotFound(_NO_SUCH)
    return int(found[1])


def image_of(connection: Connection | None, signed: str, name: str) -> str:
    """The id of the image that an address opens.

    Raises:
        NotFound: it opens none, or does no more.
    """
    parts, named = _SIGNED.fullmatch(signed), _NAME.fullmatch(name)
    if parts is None or named is None or connection is None or not connection.active:
        raise NotFound(_NO_SUCH)
    expected = _signature(connection, named[1], int(parts[2]))
    if not hmac.compare_digest(parts[3], expected):
        raise NotFound(_NO_SUCH)
    if int(parts[2]) < utc_now().timestamp():
        raise NotFound("this address has expired; the next exchange with the tool gives a new one")
    return named[1]


def mark_of(connection: Connection) -> str:
    """What tells the tasks of a connection from those of others in the same tool."""
    return derived(connection.secret, "mark")[:16]


def _signature(connection: Connection, image_id: str, seconds: int) -> str:
    return derived(connection.secret, f"picture {connection.id} {image_id} {seconds}")
