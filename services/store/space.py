"""No space left on a disk: one error of it, wherever a file is written."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from services.errors import ServiceError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota, or over the file size that the process may write."""


class DiskFull(ServiceError):
    """No space left; nothing was written. Free some space and the same work is tried again."""

    code = "disk_full"
    status = 507
    retryable = True


@contextlib.contextmanager
def full_told(name: str) -> Iterator[None]:
    """Tell :class:`DiskFull` of what is written in the block.

    Args:
        name: of what is written, for the message.

    Raises:
        DiskFull: there is no space.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"no space left for {name}: free some and try again") from error
        raise
