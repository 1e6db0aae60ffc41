"""Objects that are named by the hash of their bytes."""

from __future__ import annotations

import hashlib
import re

from curation.kernel.errors import CurationError

_NAMED_BY_HASH = re.compile(r"images/[0-9a-f]{2}/([0-9a-f]{64})\.[A-Za-z0-9]+")


class ObjectDamaged(CurationError):
    """An object does not hold the bytes that it is named by."""

    code = "object_damaged"


def hash_in(key: str) -> str:
    """The SHA-256 that an object is named by, as 64 hex digits; "" where the name says none."""
    found = _NAMED_BY_HASH.fullmatch(key)
    return "" if found is None else found[1]


def is_named(key: str, data: bytes) -> bool:
    """Whether bytes have the hash that their key says, if it says one."""
    said = hash_in(key)
    return not said or hashlib.sha256(data).hexdigest() == said


def require_named(key: str, data: bytes) -> None:
    """Refuse bytes of another hash.

    Raises:
        ObjectDamaged: they have.
    """
    if not is_named(key, data):
        raise damaged(key)


def damaged(key: str, where: str = "") -> ObjectDamaged:
    """The error of an object that was changed; ``where`` it lies, if that is not its key."""
    at = f"{key}, which is {where}," if where and where != key else key
    return ObjectDamaged(
        f"{at} does not hold what it is named by: it was changed; import the same picture again, "
        "or restore it from a backup"
    )
