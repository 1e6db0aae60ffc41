"""Holding an index still while somebody copies its files."""

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
def held_still(folder: Path, timeout_s: float) -> Iterator[None]:
    """Keep every writer of one index folder waiting; readers are not disturbed.

    Args:
        folder: of one encoder version.
        timeout_s: how long to wait for a write or a seal that runs.

    Raises:
        IndexBusy: it did not end in time.
    """
    deadline = time.monotonic() + timeout_s
    with contextlib.ExitStack() as stack:
        for name in LOCKS:
            lock = stack.enter_context((folder / name).open("a"))
            while not _taken(lock.fileno()):
                if time.monotonic() > deadline:
                    raise IndexBusy(
                        f"{folder} has been written to for {timeout_s:g} s: try again later"
                    )
                time.sleep(0.05)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
