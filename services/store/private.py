"""What a project keeps from the other users of its machine.

``state/`` holds the database, the API token and the broker with its socket; ``logs/`` what was
said about all of it. Folders are 0700 and files 0600: by the umask of our own processes, and
mended where an earlier version, a copy or another tool has left them open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every process of ours passes through here: it must load at once
    from services.config.project import Project

logger = logging.getLogger(__name__)

UMASK = 0o077
OPEN = stat.S_IRWXG | stat.S_IRWXO
"""Rights of the group and of everybody else."""


def only_ours() -> None:
    """Make what this process creates its owner's alone; called once, where a process begins."""
    os.umask(UMASK)


@contextlib.contextmanager
def keeping_ours() -> Iterator[None]:
    """The same for the length of a block, in a command that goes on to write for other people."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def exposed(project: Project, database: str | None = None) -> list[Path]:
    """Folders and files that others could enter or read.

    Args:
        project: whose.
        database: path of an SQLite file that may lie elsewhere.
    """
    found = [path for path in _kept(project, database) if _mode(path) & OPEN]
    return sorted(found)


def close(project: Project, database: str | None = None) -> list[Path]:
    """Take the rights of others from what they could read.

    Args:
        project: whose.
        database: path of an SQLite file that may lie elsewhere.

    Returns:
        What was open and is closed now. What belongs to another user stays as it is;
        :func:`exposed` still names it.
    """
    closed = []
    for path in exposed(project, database):
        try:
            path.chmod(_mode(path) & ~OPEN)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("%s can be read by others: %s", path, error.strerror)
            continue
        closed.append(path)
    return closed


def _kept(project: Project, database: str | None) -> Iterator[Path]:
    for folder in (project.state, project.logs):
        if folder.is_dir() and not folder.is_symlink():
            yield folder
            yield from (path for path in folder.rglob("*") if not path.is_symlink())
    if database:
        for suffix in ("", "-wal", "-shm"):
            path = Path(database + suffix)
            if path.is_file():
                yield path


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:  # a temporary file, done with
        return 0
