"""What runs in a project, for other processes: a lock, and a file that says more."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any

from services.config.project import Project
from services.errors import Conflict


def up_file(project: Project) -> Path:
    """What runs, for other processes: ``{"pid": …, "api_url": …, "processes": {name: pid}}``."""
    return project.state / "up.json"


def write(project: Project, said: dict[str, Any]) -> None:
    """Say what runs; a reader finds the old words or the new ones.

    Raises:
        OSError: there is no space; the old words stay.
    """
    file = up_file(project)
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps({"pid": os.getpid(), **said}), encoding="utf-8")
    temporary.replace(file)


def running(project: Project) -> dict[str, Any] | None:
    """What the supervisor of a project says, None where none runs."""
    try:
        lock = take_lock(project)
    except Conflict:
        try:
            said: dict[str, Any] = json.loads(up_file(project).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"pid": None, "api_url": None, "processes": {}, "restarts": {}}
        return said
    lock.close()
    return None


def take_lock(project: Project) -> IO[str]:
    """Be the only supervisor of a project, until the file is closed or the process has ended.

    Raises:
        Conflict: another has it.
    """
    # made also by commands that only ask, under the umask of whoever types them
    file = os.open(project.state / "up.lock", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    lock = os.fdopen(file, "a", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Conflict(
            f"the services of {project.root} are up already: stop them first (Ctrl-C where "
            "`e2x up` runs)"
        ) from None
    return lock
