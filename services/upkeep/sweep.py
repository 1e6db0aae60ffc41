"""Half files: what a process that was killed in the middle of a write has left is removed.

Only what is old enough, and whose writer is known to have ended. A name says which process of which
machine writes (:func:`~curation.kernel.files.temporary_beside`); of another machine's processes
nothing is known, so their files must have lain for a day.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from curation.kernel import files
from services.context import Context
from services.store.project_store import cache_folder

logger = logging.getLogger(__name__)

YOUNG_S = 60.0
UNKNOWN_S = 86_400.0
"""How long a file must have lain whose writer cannot be asked for."""
AGAIN_S = 6 * 3600.0
"""Between two sweeps: a store of a million images takes seconds to look through."""
CLOCK_S = 2.0
"""Process starts and file times are known to about a second."""
EARLIER = re.compile(r"\..+\.[a-z0-9_]{8}|\.api-token\.[0-9]+|\.[0-9a-f]{16}\.new")
"""Temporary names that do not say who writes; earlier versions gave such."""

_last_s: float | None = None


def start(context: Context) -> None:
    """Sweep beside whatever else this process does; an error is logged."""
    threading.Thread(target=_guarded, args=(context,), name="sweep", daemon=True).start()


def again(context: Context) -> list[Path]:
    """Sweep if this process has not done so lately; what was removed."""
    global _last_s
    now = time.monotonic()
    if _last_s is not None and now - _last_s < AGAIN_S:
        return []
    _last_s = now
    return sweep(context)


def sweep(context: Context) -> list[Path]:
    """Remove half files from all folders of a project, and from its watched folder.

    Returns:
        What was removed. What cannot be removed is logged and costs the rest nothing.
    """
    removed = []
    for path in _temporary(context):
        try:
            if _is_left(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(path)
        except FileNotFoundError:  # its writer was quicker
            continue
        except OSError as error:
            logger.warning("%s is left over and cannot be removed: %s", path, error.strerror)
    if removed:
        logger.info("removed %s files that killed processes had begun", len(removed))
    return removed


def _guarded(context: Context) -> None:
    try:
        sweep(context)
    except Exception:
        logger.exception("left-over files could not be looked for")


def _temporary(context: Context) -> Iterator[Path]:
    cache = cache_folder(context.settings, context.project.root)
    for folder in (*context.project.folders(), cache):
        for parent, folders, names in os.walk(folder):
            for name in (*folders, *names):
                if name.startswith(".") and _may_be_temporary(name):
                    yield Path(parent, name)
            folders[:] = [name for name in folders if not name.startswith(".")]
    watched = context.settings.ingest.watch_folder
    if watched is not None:  # other people's folder: only names that are surely ours
        for path in (context.project.root / watched.expanduser() / "rejected").glob(".e2x-*.tmp"):
            if files.writer_of(path.name) is not None:
                yield path


def _may_be_temporary(name: str) -> bool:
    return files.writer_of(name) is not None or EARLIER.fullmatch(name) is not None


def _is_left(path: Path) -> bool:
    """Whether nobody writes a temporary file any more."""
    modified_s = path.lstat().st_mtime
    age_s = time.time() - modified_s
    writer = files.writer_of(path.name)
    if writer is None or not writer.here:
        return age_s > UNKNOWN_S
    return age_s > YOUNG_S and not _lives(writer.pid, modified_s)


def _lives(pid: int, modified_s: float) -> bool:
    """Whether the process that wrote at a time still runs; its number may be another's by now."""
    try:
        return bool(psutil.Process(pid).create_time() < modified_s + CLOCK_S)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
