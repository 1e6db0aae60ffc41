"""Kills a process at each of the moments at which it may leave something half done.

A moment is just before a file is opened for writing, renamed, linked, removed or a folder is made,
before a statement that writes and before and after each commit. A child process made by ``fork``
counts them, and sends itself SIGKILL at the one that it is told.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event

from services import context as wiring
from services.config.settings import Settings
from services.context import Context

Operation = Callable[[Context], None]

_FILES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
_WRITES = ("INSERT", "UPDATE", "DELETE")


class Points:
    """Counts the moments of this process, and dies at one of them.

    Args:
        die_at: number of the moment, from 1; 0: never.
    """

    def __init__(self, die_at: int) -> None:
        self.seen = 0
        self._die_at = die_at

    def watch(self, context: Context) -> None:
        """Begin to count."""
        event.listen(context.engine, "before_cursor_execute", self._statement)
        event.listen(context.engine, "commit", self._pass)
        event.listen(context.engine, "checkin", self._pass)  # the transaction has ended
        sys.addaudithook(self._audit)

    def _pass(self, *_: object) -> None:
        self.seen += 1
        if self.seen == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _statement(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().upper().startswith(_WRITES):
            self._pass()

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in _FILES or (name == "open" and _writes(*arguments)):
            self._pass()


def _writes(file: object, _mode: object, flags: object) -> bool:
    """Whether a file is opened to be written."""
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
    return bool(writes) and file != os.devnull


def run(settings: Settings, operation: Operation, die_at: int = 0) -> int | None:
    """Run an operation on a project in a process of its own.

    Args:
        settings: of the project.
        operation: what is done there.
        die_at: the moment at which the process is killed; 0: it ends by itself.

    Returns:
        How many moments it had; None where it was killed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    note = Path(settings.resolved_project()) / "moments"
    pid = os.fork()
    if pid == 0:
        _child(settings, operation, die_at, note)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0, "the operation failed: see its traceback"
    return int(note.read_text())


def _child(settings: Settings, operation: Operation, die_at: int, note: Path) -> None:
    """What the forked process does; it never returns into the test that made it."""
    try:
        context = wiring.build(settings)
        points = Points(die_at)
        points.watch(context)
        operation(context)
        points._die_at = 0
        note.write_text(str(points.seen))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
