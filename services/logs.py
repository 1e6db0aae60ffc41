"""Logs as JSON lines that say which unit, failure and cycle they belong to.

A line is ``{"at": …, "level": …, "process": …, "logger": …, "message": …, "unit": …, …}``. The
fields of the work at hand come from context variables: the task shell sets them with
:func:`bound`, and every line that is logged meanwhile carries them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.config.setting_groups import LogSettings
from services.log_files import LogFile
from services.plain import json_text

FIELDS = (
    "unit",
    "stage",
    "attempt",
    "cycle",
    "failure",
    "image",
    "model",
    "request",
    "status",
    "seconds",
    "repeated",
)
"""Names that are taken from :func:`bound` or from ``extra=``, in the order of a line."""

NOISY = (
    "celery.app.trace",  # the shell logs the start and the end of a unit
    "celery.beat",
    "celery.worker.strategy",
    "alembic",
    "httpcore",
    "httpx",
    "PIL",
)
"""Loggers of libraries that say much at level INFO."""

_bound: ContextVar[dict[str, Any] | None] = ContextVar("e2x_log_fields", default=None)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add fields to every line logged inside; None values are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    token = _bound.set({**(_bound.get() or {}), **given})
    try:
        yield
    finally:
        _bound.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            **(_bound.get() or {}),
        }
        for name in FIELDS:
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_text(line)


def configure(
    name: str,
    level: str = "INFO",
    folder: Path | None = None,
    settings: LogSettings | None = None,
) -> None:
    """Send all logs of this process to ``folder/name.log``, or to standard error.

    Where ``settings.to`` says so they go to standard error whatever the folder.

    Args:
        name: of the process, such as ``worker-explain``.
        level: least level that is logged.
        folder: where log files lie; None: standard error.
        settings: how large a file may get; None: as large as by default.
    """
    handler: logging.Handler
    if folder is None or (settings is not None and settings.to == "stderr"):
        handler = logging.StreamHandler(sys.stderr)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        handler = LogFile(folder / f"{name}.log", settings or LogSettings())
    handler.setFormatter(JsonFormatter(name))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
