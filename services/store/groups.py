"""Many objects for a few waits: what one wait for the disk or the network is shared by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from curation.kernel import files
from services.store.objects import checked
from services.store.space import full_told

AT_A_TIME = 16
"""Objects sent or fetched at once: a request waits for the network most of its time."""
WAITING = 32
"""Objects in memory at most: who adds more waits."""


class Group(Protocol):
    """Objects that are begun, and all there for good when ``finish`` returns."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up what is not finished."""
        ...

    def __contains__(self, key: str) -> bool:
        """Whether this object was written to the group."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Begin an object that is named by its content; one that is there stays."""
        ...

    def finish(self) -> None:
        """Wait until all are there; from here on rows may name them."""
        ...


class FolderGroup:
    """Files: synced together, see :class:`curation.kernel.files.Together`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = files.Together()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def __contains__(self, key: str) -> bool:
        return self._root / key in self._files

    def write(self, key: str, data: bytes) -> None:
        """Begin a file, unless it is there."""
        path = self._root / checked(key)
        if path in self._files or path.is_file():
            return
        with full_told(key):
            self._files.write(path, data)

    def finish(self) -> None:
        """Sync all."""
        with full_told("new files"):
            self._files.finish()


class BucketGroup:
    """Uploads: some at a time, beside whatever else is done meanwhile.

    Args:
        put_new: stores an object unless it is there.
    """

    def __init__(self, put_new: Callable[[str, bytes], None]) -> None:
        self._put_new = put_new
        self._room = threading.Semaphore(WAITING)
        self._pool = ThreadPoolExecutor(AT_A_TIME)
        self._begun: dict[str, Future[None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __contains__(self, key: str) -> bool:
        return key in self._begun

    def write(self, key: str, data: bytes) -> None:
        """Begin an upload; waits where many are under way."""
        if key in self._begun:
            return
        self._room.acquire()
        self._begun[key] = self._pool.submit(self._upload, key, data)

    def finish(self) -> None:
        """Wait for all; the first error is raised."""
        for upload in self._begun.values():
            upload.result()

    def _upload(self, key: str, data: bytes) -> None:
        try:
            self._put_new(key, data)
        finally:
            self._room.release()
