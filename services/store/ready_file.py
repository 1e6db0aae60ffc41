"""How a process says that it is ready, for who has started it."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from services.config.project import Project

logger = logging.getLogger(__name__)

READY_AGAIN_S = 1.0


def ready_file(project: Project, name: str) -> Path:
    """Where a process says that it is ready: a file with its pid."""
    return project.state / "ready" / name


def announce_ready(project: Project, name: str) -> None:
    """Say that this process is ready; on a full disk as soon as that can be said.

    The process does its work all the same: to end for want of a word would only start it again.
    """
    try:
        _write_ready(project, name)
    except OSError as error:
        logger.warning("%s is ready, and cannot say so yet: %s", name, error)
        again = threading.Thread(target=_until_written, args=(project, name), daemon=True)
        again.start()


def _until_written(project: Project, name: str) -> None:
    while True:
        time.sleep(READY_AGAIN_S)
        try:
            return _write_ready(project, name)
        except OSError as error:
            logger.debug("%s still cannot say that it is ready: %s", name, error)


def _write_ready(project: Project, name: str) -> None:
    file = ready_file(project, name)
    file.parent.mkdir(exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_text(str(os.getpid()), encoding="utf-8")
    temporary.replace(file)
