"""The locks of an index folder; each dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from curation.kernel.errors import IndexBusy

LOCKS = ("SEAL", "LOCK")
"""In the order in which a seal takes them, see :class:`curation.index.vectors.VectorStore`."""


@contextlib.contextmanager
def locked(folder: Path, name: str, timeout_s: float) -> Iterator[None]:
    """Hold one of :data:`LOCKS` of a folder.

    Raises:
        IndexBusy: another process has held it for longer than ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    with (folder / name).open("a") as lock:
        while not _taken(lock.fileno()):
            if time.monotonic() > deadline:
                raise IndexBusy(
                    f"another process has been writing to {folder} for {timeout_s:g} s; one "
                    "writer at a time, try again"
                )
            time.sleep(0.01)
        yield


@contextlib.contextmanager
def held_still(folder: Path, timeout_s: float) -> Iterator[None]:
    """Keep every writer of one index folder waiting; readers are not disturbed.

    Args:
        folder: of one encoder version.
        timeout_s: how long to wait for a write and for a seal that runs.

    Raises:
        IndexBusy: it did not end in time.
    """
    with contextlib.ExitStack() as stack:
        for name in LOCKS:
            stack.enter_context(locked(folder, name, timeout_s))
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
