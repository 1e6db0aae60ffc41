"""The Celery tasks: one that wakes a worker for a unit, and those that the scheduler sends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from celery import Celery

from services import log_files
from services.config.settings import Settings
from services.upkeep import sweep
from services.worker import lifecycle, reconciler, turn

logger = logging.getLogger(__name__)

RUN_UNIT = "e2x.run_unit"
RECONCILE = "e2x.reconcile"
TRIGGERS = "e2x.triggers"
HOUSEKEEPING = "e2x.housekeeping"
LABEL_TOOLS = "e2x.label_tools"
TELL_MLFLOW = "e2x.mlflow"
HOUSEKEEPING_S = 600.0
LABEL_TOOLS_S = 5.0
"""Most often it only looks whether the time of an exchange has come, or news were told."""
TRIGGERS_FUNCTION, UPKEEP_FUNCTION = "services.cycle.triggers:check", "services.upkeep.rows:run"
LABEL_TOOLS_FUNCTION = "services.labeling.connectors.sync:due"
MLFLOW_FUNCTION = "services.mirror.process:due"
DRIFT_FUNCTION = "services.drift.days:ask"
"""Named, not imported: they reach far into the loop, and only the scheduler's worker runs them."""


def attach(app: Celery) -> None:
    """Register the tasks with an application."""
    for name, function in (
        (RUN_UNIT, run_unit),
        (RECONCILE, reconcile),
        (TRIGGERS, triggers),
        (HOUSEKEEPING, housekeeping),
        (LABEL_TOOLS, label_tools),
        (TELL_MLFLOW, tell_mlflow),
    ):
        app.task(name=name)(function)


def run_unit(unit_id: int, more: Sequence[int] = (), kind: str = "") -> None:
    """Work on a unit, and on more of its kind, if they can be had.

    Args:
        unit_id: its row.
        more: rows of others.
        kind: of all of them, where there are more.
    """
    own = lifecycle.own()
    with own.idle.busy():
        turn.take(own.context, own.resident, (unit_id, *more), kind, own.owner, own.recorder)


def reconcile() -> None:
    """Find what dead workers and lost messages left behind."""
    reconciler.reconcile(lifecycle.own().context)


def triggers() -> None:
    """Start the cycles that are due."""
    module, name = TRIGGERS_FUNCTION.split(":")
    getattr(import_module(module), name)(lifecycle.own().context)


def label_tools() -> None:
    """Exchange tasks and answers with labelling tools that are connected."""
    module, name = LABEL_TOOLS_FUNCTION.split(":")
    getattr(import_module(module), name)(lifecycle.own().context)


def tell_mlflow() -> None:
    """Tell MLflow of models that have changed, in a process that nobody waits for."""
    module, name = MLFLOW_FUNCTION.split(":")
    getattr(import_module(module), name)(lifecycle.own().context)


def housekeeping() -> None:
    """Delete what nobody needs any more, and what processes have left on the disk."""
    context = lifecycle.own().context
    module, name = UPKEEP_FUNCTION.split(":")
    getattr(import_module(module), name)(context)
    module, name = DRIFT_FUNCTION.split(":")
    getattr(import_module(module), name)(context)
    sweep.again(context)
    log_files.clean(context.project.logs, context.settings.logs)


def schedule(settings: Settings) -> dict[str, Any]:
    """What beat sends, and how often; a message that waits past its time is dropped."""
    every = {
        RECONCILE: settings.workers.reconcile_interval_s,
        TRIGGERS: settings.triggers.interval_s,
        HOUSEKEEPING: HOUSEKEEPING_S,
        LABEL_TOOLS: min(LABEL_TOOLS_S, settings.labels.sync_interval_s),
    }
    if settings.mlflow.tracking_uri:
        every[TELL_MLFLOW] = settings.mlflow.interval_s
    return {
        name: {
            "task": name,
            "schedule": seconds,
            "options": {"queue": "default", "expires": max(seconds, 1.0)},
        }
        for name, seconds in every.items()
    }
