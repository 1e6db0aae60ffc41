"""Start a program so that it dies with the process that started it, also by SIGKILL.

``python -m services.guard PARENT_PID SIGNAL COMMAND…`` asks the kernel for a signal at the
parent's death and becomes the command. This is done in the child, since code between fork and exec
of a process with threads may hang. What the command creates is its owner's alone. On systems other
than Linux the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from services.store.private import only_ours

PR_SET_PDEATHSIG = 1


def guarded(command: Sequence[str], death: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command line that runs ``command`` and ends it with ``death`` when we die.

    The thread that starts it must live as long as it does: the kernel watches the thread.
    """
    module = "services.guard"
    return [sys.executable, "-m", module, str(os.getpid()), str(int(death)), *command]


def die_with_parent(death: signal.Signals = signal.SIGKILL, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent ends.

    Args:
        death: the signal.
        parent: pid that the parent had; if it is another by now, this process ends at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        raise SystemExit(1)


def main(arguments: Sequence[str]) -> None:
    """Become the command."""
    only_ours()
    die_with_parent(signal.Signals(int(arguments[1])), int(arguments[0]))
    os.execvp(arguments[2], list(arguments[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
