"""Starts the process that tells MLflow, where there is something to tell.

It has a process of its own, which ends when all is told: the client takes a hundred megabytes and
seconds to load, and a server that hangs must not hold up the worker that also frees what dead
workers have left.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys

from services.context import Context
from services.guard import guarded
from services.mirror import deliver

logger = logging.getLogger(__name__)

_running: subprocess.Popen[bytes] | None = None


def due(context: Context) -> subprocess.Popen[bytes] | None:
    """Tell MLflow what is due, in a process that nobody waits for.

    Args:
        context: wiring; the process reads the same settings.

    Returns:
        The process, if one was started.
    """
    global _running
    if _running is not None and _running.poll() is None:
        return None
    _running = None
    if not deliver.is_due(context):
        return None
    environment = {**os.environ, "E2X_PROJECT": str(context.project.root)}
    command = guarded([sys.executable, "-m", "services.mirror"], signal.SIGTERM)
    _running = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
    return _running
