"""Copies of objects on this machine's disk, so many bytes at most.

Only of objects that never change under their key. Several processes share one folder: a copy has
its name once it is whole; what has not been used for longest goes first. What is in use has a
second name of its user's (:meth:`Cache.lend`), so that it can be read however full the cache gets,
and is not counted out: to remove it would free nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from curation.kernel.files import temporary_beside, write_atomically
from services.store.space import full_told

logger = logging.getLogger(__name__)

KEPT_SHARE = 0.9
"""Of the bound, after something had to go: so that not every addition has to look around."""
LOOK_SHARE = 1 / 16
"""Of the bound: what one process adds before it looks how much there is in all."""
Fill = Callable[[Path], None]
"""Writes an object into a file, and raises where it cannot."""


class Cache:
    """See the module.

    Args:
        folder: made where it is missing; nothing else may lie in it.
        limit_bytes: of what is not in use.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self._objects = folder / "objects"
        self._limit = limit_bytes
        self._added: int | None = None  # not known what was there before
        self._lock = threading.Lock()

    def path(self, key: str, fill: Fill) -> Path:
        """The copy of an object, made where there is none. It may go at any time: open it at once.

        Raises:
            DiskFull: there is no space for it; or what ``fill`` raises, and then there is none.
        """
        path = self._objects / key
        try:
            os.utime(path)  # the file system's own times of access are seldom kept
        except FileNotFoundError:
            with full_told(key):
                write_atomically(path, fill)
            self._count(path)
        return path

    def read(self, key: str, fill: Fill) -> bytes:
        """The bytes of an object. Errors as of :meth:`path`."""
        while True:
            path = self.path(key, fill)  # here, as what the source lacks is no copy that went
            try:
                return path.read_bytes()
            except FileNotFoundError:
                logger.debug("%s went before it was read: fetched again", key)

    def drop(self, key: str) -> None:
        """Forget a copy, such as a damaged one."""
        (self._objects / key).unlink(missing_ok=True)

    def lend(self, key: str, fill: Fill, to: Path) -> None:
        """Give a copy a second name, under which it stays until that is deleted.

        Args:
            key: of the object.
            fill: see :meth:`path`.
            to: the name, in :attr:`folder`; one that is there stays.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        while not to.exists():
            path = self.path(key, fill)
            try:
                os.link(path, to)
            except FileExistsError:
                return
            except FileNotFoundError:
                logger.debug("%s went before it was used: fetched again", key)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[Path]:
        """A folder for what :meth:`lend` lends; it goes with the block, or is swept later."""
        folder = temporary_beside(self.folder / "any")
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _count(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except FileNotFoundError:  # another process has removed it meanwhile
            size = 0
        with self._lock:
            self._added = None if self._added is None else self._added + size
            if self._added is not None and self._added < self._limit * LOOK_SHARE:
                return
            self._added = 0
        self._shrink()

    def _shrink(self) -> None:
        """Remove what was not used for longest, where there is too much; one process does it."""
        with (self.folder / ".shrinking").open("a") as lock:
            try:
                fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            copies = list(self._unused())
            total = sum(size for _, size, _ in copies)
            if total <= self._limit:
                return
            for _, size, path in sorted(copies):
                path.unlink(missing_ok=True)
                total -= size
                if total <= self._limit * KEPT_SHARE:
                    return

    def _unused(self) -> Iterator[tuple[float, int, Path]]:
        """When each copy was used last, its bytes, and where it is."""
        for parent, folders, names in os.walk(self._objects):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(parent, name)
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                if not name.startswith(".") and stat.st_nlink == 1:
                    yield stat.st_mtime, stat.st_size, path
