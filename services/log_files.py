"""Log files that stay small: set aside by size, deleted by age, and never a reason to stop.

A file may have several writers at once: the processes of a worker's pool, and whatever they print.
So a full file is copied and emptied in place, not renamed: every writer appends, and goes on at the
new end without being told. ``name.log.1`` is the newest of the older ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import logging.handlers
import os
import time
from pathlib import Path
from typing import IO, Any

from services.config.setting_groups import LogSettings

LOOK_EVERY = 64
"""Lines between two looks at the size."""
AGAIN_S = 60.0
"""After a copy that failed, as on a full disk."""
DAY_S = 86_400.0
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_PRIVATE = 0o600


def open_private(path: Path) -> IO[bytes]:
    """A log file to append to; one that is new is its owner's alone.

    Raises:
        OSError: it cannot be opened.
    """
    return os.fdopen(os.open(path, _APPEND, _PRIVATE), "ab")


def rotate(path: Path, settings: LogSettings) -> bool:
    """Set a log aside if it is too large; True if it was.

    Lines that are written in the moment between the copy and the cut are lost; no others are.

    Raises:
        OSError: there is no space for the copy, or the file is not ours; nothing has changed.
    """
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # all its writers may look at once
        except BlockingIOError:
            return False
        if os.fstat(file.fileno()).st_size <= settings.max_file_bytes:
            return False
        if settings.keep_files:
            _set_aside(file, path, settings.keep_files)
        file.truncate(0)
    return True


def _set_aside(file: IO[bytes], path: Path, keep: int) -> None:
    copy = path.with_name(f".{path.name}.copy")  # one copier at a time, by the lock
    try:
        with os.fdopen(os.open(copy, _ANEW, _PRIVATE), "wb") as output:
            while data := file.read(2**20):
                output.write(data)
        for number in range(keep, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                _older(path, number - 1).replace(_older(path, number))
        copy.replace(_older(path, 1))
    finally:
        copy.unlink(missing_ok=True)


def clean(folder: Path, settings: LogSettings, idle_too: bool = False) -> list[Path]:
    """Delete logs that were last written long ago.

    Args:
        folder: where logs lie.
        settings: how long is long.
        idle_too: also those that were not set aside; only while no process has them open.

    Returns:
        What was deleted.
    """
    before = time.time() - settings.keep_days * DAY_S
    deleted = []
    patterns = ("*.log.[0-9]*", "*.log") if idle_too else ("*.log.[0-9]*",)
    for path in sorted(found for pattern in patterns for found in folder.glob(pattern)):
        with contextlib.suppress(FileNotFoundError):  # another process cleans too
            if path.stat().st_mtime < before:
                path.unlink()
                deleted.append(path)
    return deleted


class LogFile(logging.handlers.WatchedFileHandler):
    """A log of limited size; a full or read-only disk costs lines and nothing else.

    A file that ``logrotate`` moves away is opened anew.

    Args:
        path: the file.
        settings: how large, and how many older ones are kept.
    """

    def __init__(self, path: Path, settings: LogSettings) -> None:
        # Opened with the first line, where an error is handled like that of any line.
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        self._path, self._settings = path, settings
        self._lines, self._not_before = 0, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; what goes wrong is told on standard error where that works."""
        try:
            super().emit(record)
            self._lines += 1
            if self._lines % LOOK_EVERY == 0 and time.monotonic() >= self._not_before:
                self._not_before = time.monotonic() + AGAIN_S
                rotate(self._path, self._settings)
                self._not_before = 0.0  # no error: the next look may come as soon as it likes
        except Exception:
            self.handleError(record)

    def _open(self) -> Any:
        descriptor = os.open(self._path, _APPEND, _PRIVATE)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
