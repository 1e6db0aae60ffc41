"""Flags of objects: crowd, ignore, difficult. Tools write 1, true and "1", and mean one thing."""

from __future__ import annotations

from typing import Any

from curation.kernel.errors import AnnotationsInvalid

_SAID = {
    **dict.fromkeys(("1", "true", "yes"), True),
    **dict.fromkeys(("0", "false", "no", ""), False),
}


def flag(value: Any, where: str) -> bool:
    """What a flag says; one that is missing (None) or empty says no.

    Args:
        value: as a file has it: a truth value, 0 or 1, or one of them as text, in whatever case.
        where: what to call it in the message.

    Raises:
        AnnotationsInvalid: it says neither yes nor no; to guess would teach a detector an object
            that nobody is sure of, or hide one.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    said = _SAID.get(value.strip().lower()) if isinstance(value, str) else None
    if said is None:
        raise AnnotationsInvalid(f"`{where}` is {str(value)[:40]!r}: give 0 or 1")
    return said
