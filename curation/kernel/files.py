"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SYNCS_AT_A_TIME = 16
"""A journalling file system answers those that wait at once with one commit; many files take a
fraction of the time that they do one by one, and on ext4 more at a time gain nothing."""
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
    temporary = _created_beside(path)
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)  # the rename itself reaches the disk with its folder
    finally:
        temporary.unlink(missing_ok=True)


class Together:
    """Many files, each there whole or not at all, for a few waits for the disk in all.

    A file that is not durable never has its name: what is begun lies beside it until ``finish``,
    and is removed where the block ends without. Used as a context manager::

        with Together() as group:
            for path, data in found:
                group.write(path, data)
            group.finish()  # from here on rows may name them
    """

    def __init__(self) -> None:
        self._begun: dict[Path, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for temporary in self._begun.values():
            temporary.unlink(missing_ok=True)

    def __contains__(self, path: Path) -> bool:
        """Whether this file was written to the group."""
        return path in self._begun

    def write(self, path: Path, data: bytes) -> None:
        """Begin a file; its folder is made where it is missing.

        Raises:
            OSError: such as no space.
        """
        self._begun[path] = _created_beside(path)
        _fill(self._begun[path], data)

    def finish(self) -> None:
        """Sync all that was begun, give each its name, sync the folders.

        Raises:
            OSError: such as no space; some files may have their names, whole.
        """
        _sync_all(self._begun.values())
        for path, temporary in self._begun.items():
            temporary.replace(path)
        _sync_all({path.parent for path in self._begun})
        self._begun = {}


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


def _created_beside(path: Path) -> Path:
    """A new empty file beside a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    return temporary


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(paths: Iterable[Path]) -> None:
    with ThreadPoolExecutor(SYNCS_AT_A_TIME) as pool:
        list(pool.map(_sync, paths))  # the first error is raised


@functools.cache
def _machine() -> str:
    """A short name of this machine: several may write into one shared folder."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
