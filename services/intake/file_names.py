"""Names that other people gave to their files: of any bytes, and up to what the disk allows."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

MAX_BYTES = 255
"""Of a name, on every usual file system of Linux."""
ADDED_BYTES = len(".json")
"""The longest ending that stands behind a name of a file that belongs to it."""


def shown(name: str) -> str:
    r"""A name, or a text with names in it, as it can be stored, logged and sent.

    Bytes that are no UTF-8 stand as ``\xe9``.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def free(path: Path) -> Path:
    """The path, or a like one where that is taken or too long for what will belong to it."""
    candidate, number = _shortened(path, ""), 1
    while os.path.lexists(candidate):
        candidate = _shortened(path, f"-{number}")
        number += 1
    return candidate


def _shortened(path: Path, number: str) -> Path:
    """The path with a number, its stem cut where the name would be too long."""
    stem, suffix = os.fsencode(path.stem), os.fsencode(path.suffix)
    most = MAX_BYTES - ADDED_BYTES - len(suffix) - len(number)
    if len(stem) > most:
        mark = f"~{hashlib.sha256(stem).hexdigest()[:8]}".encode()
        end = most - len(mark)
        while stem[end] & 0xC0 == 0x80:  # not within a character
            end -= 1
        stem = stem[:end] + mark
    return path.with_name(os.fsdecode(stem + number.encode() + suffix))
