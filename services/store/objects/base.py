"""What an object store does, and what can go wrong with one."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from services.errors import Conflict, InvalidRequest, ToolUnavailable

PAGE = 1000
"""Keys that S3 lists in one answer at most."""
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]*")
"""What every file system and every S3 server takes as it is. A name that begins with a dot is a
file that is being written."""
MAX_KEY = 900
"""S3 takes 1024 bytes, with the prefix."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store knows of an object without reading it.

    Attributes:
        key: where it is.
        size: bytes.
        etag: changes whenever the object does; of use only to the store that has given it.
    """

    key: str
    size: int
    etag: str


class ObjectLost(FileNotFoundError):
    """There is no such object."""

    code: ClassVar[str] = "object_lost"
    retryable: ClassVar[bool] = True

    def __init__(self, key: str, where: str) -> None:
        super().__init__(errno.ENOENT, f"no such object in {where}", key)


class ObjectExists(Conflict):
    """There is an object of this key already; it is as it was."""

    code = "object_exists"


class ObjectChanged(Conflict):
    """The object is not the one that was read before; it is as somebody else has left it."""

    code = "object_changed"
    retryable = True


class StoreUnavailable(ToolUnavailable):
    """The store does not answer, also not after some patience. What was asked for can be again."""

    code = "store_unavailable"


class StoreRefused(ToolUnavailable):
    """The store answers and refuses: its credentials, its bucket or its certificate are wrong."""

    code = "store_refused"


class Objects(Protocol):
    """A folder or a bucket. Safe for several threads and several processes.

    Every method raises :class:`StoreUnavailable` or :class:`StoreRefused` where the store is a
    server, and ``DiskFull`` or another ``OSError`` where it is a folder.
    """

    @property
    def name(self) -> str:
        """The store's URL, for people; without credentials."""
        ...

    @property
    def root(self) -> Path | None:
        """The folder, where objects are files of this machine; key and relative path are one."""
        ...

    def put(self, key: str, data: bytes | Path) -> str:
        """Store bytes, or those of a file, whole or not at all; what was there is replaced.

        Returns:
            The etag.
        """
        ...

    def create(self, key: str, data: bytes) -> str:
        """Store bytes under a key that is free; of several at once one succeeds.

        Raises:
            ObjectExists: it is not. It may be our own where an answer was lost: read it.
        """
        ...

    def swap(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object unless it has changed; of several at once one succeeds.

        Args:
            key: of an object that only this method and :meth:`create` write.
            data: the new bytes.
            etag: of the object that was read.

        Returns:
            The new etag.

        Raises:
            ObjectChanged: it has, or is gone. It may be our own change where an answer was lost.
        """
        ...

    def get(self, key: str) -> tuple[bytes, Entry]:
        """An object, and what is known of it.

        Raises:
            ObjectLost: there is none.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes ``start`` to ``start + length`` of an object, fewer where it ends before.

        Raises:
            ObjectLost: there is none.
        """
        ...

    def fetch(self, key: str, path: Path) -> Entry:
        """Copy an object into a file, a piece at a time.

        Args:
            key: of the object.
            path: of a file that nobody reads yet: after an error it may hold a part.

        Raises:
            ObjectLost: there is none, or it was deleted meanwhile.
            ObjectChanged: it was replaced meanwhile.
        """
        ...

    def head(self, key: str) -> Entry | None:
        """What is known of an object, None where there is none."""
        ...

    def page(self, folder: str = "", after: str = "", most: int = PAGE) -> list[Entry]:
        """Objects below a folder, each once, in an order that is always the same.

        That is the order of their keys, but of a server that keeps folders (SeaweedFS) by parts:
        ``a/1`` before ``a-1``. Two stores cannot be compared by walking both.

        Args:
            folder: such as ``images`` or ``models/3f``; "" for all.
            after: the last key of the page before; "" for the first page.
            most: objects of one page; fewer mean that there are no more.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; twice is once."""
        ...

    def link(self, key: str, seconds: int) -> str | None:
        """A URL under which whoever has it may read the object for so long.

        None where the store has no such thing.
        """
        ...


def walk(objects: Objects, folder: str = "", after: str = "") -> Iterator[Entry]:
    """All objects below a folder, a page at a time; see :meth:`Objects.page`."""
    while True:
        page = objects.page(folder, after, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].key


def checked(key: str) -> str:
    """A key that every store takes, as it is.

    Raises:
        InvalidRequest: it is none.
    """
    if len(key) > MAX_KEY or not all(PART.fullmatch(part) for part in key.split("/")):
        raise InvalidRequest(
            f"{key[:100]!r} is no key of an object: letters, digits and ._+=@- with single "
            "slashes between, no part beginning with a dot"
        )
    return key
