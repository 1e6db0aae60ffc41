"""Starts the processes of a test project."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.context import Context
from services.worker.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
LIGHT = "benchmarks.common.light_stage"

StartServices = Callable[..., Supervisor]
"""``start(context, workers, extra_stages=LIGHT, api=False)``: the fixture ``services``."""


def supervisor_of(
    context: Context,
    workers: Mapping[str, Sequence[str]] | None,
    extra_stages: str = LIGHT,
    api: bool = False,
) -> Supervisor:
    """A supervisor whose workers find this repository's test stages."""
    environment = {"E2X_EXTRA_STAGES": extra_stages, "PYTHONPATH": str(ROOT)}
    return Supervisor(context, workers, api, environment, grace_s=2.0)


def stop(process: subprocess.Popen[bytes], patience_s: float = 60.0) -> None:
    """Ask a process to end, and kill it where it does not within a time."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
