"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\.e2x-([0-9a-f]{8})-([0-9]+)-[0-9a-f]{12}\.tmp")


@dataclass(frozen=True, slots=True)
class Writer:
    """Who made a temporary file.

    Attributes:
        here: whether it ran on this machine (in this container); only then ``pid`` says anything.
        pid: its process number there.
    """

    here: bool
    pid: int


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file, sync it, then rename it to ``path``.

    Args:
        path: what is there afterwards, readable by whom the process's umask says; its folder is
            made where it is missing.
        write: is handed an empty file beside it.

    Raises:
        OSError: such as no space; then ``path`` is as it was and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A free name in the folder of a path, for what is renamed to it when it is whole.

    The name says who writes, so that what a killed process left can be told from what is being
    written. It has 45 characters, however long the name of the path is.
    """
    name = f".e2x-{_machine()}-{os.getpid()}-{secrets.token_hex(6)}.tmp"
    return path.with_name(name)


def writer_of(name: str) -> Writer | None:
    """Who made the temporary file of this name; None where it is no such name."""
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return None
    return Writer(here=found.group(1) == _machine(), pid=int(found.group(2)))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    write_atomically(path, lambda file: _fill(file, data))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON atomically, indented for people."""
    write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


def _fill(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk with its folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def _machine() -> str:
    """A short name of this machine: several may write into one shared folder."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
