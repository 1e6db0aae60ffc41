"""The text that Prometheus reads, put together from parts of which any may be silent."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import redis
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.exc import SQLAlchemyError

from services.telemetry import catalogue as of
from services.telemetry.catalogue import METRICS, Figures, Samples, family

__all__ = ["CONTENT_TYPE_PLAIN_0_0_4", "Exposition", "Part", "disk"]

logger = logging.getLogger(__name__)

Part: TypeAlias = Callable[[], Samples]
SILENT = (SQLAlchemyError, redis.RedisError, OSError, ValueError)
"""What a part raises that does not answer; its metrics are missing then, and the others are not."""


class Exposition:
    """All metrics of a project as text.

    Args:
        parts: what is asked, by name; each is a label of ``e2x_part_up``.
        process: whether to add the memory, processor time and open files of this process.
    """

    def __init__(self, parts: Mapping[str, Part], process: bool = False) -> None:
        self._parts = dict(parts)
        self._silent: set[str] = set()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        if process:
            ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metrics, as prometheus_client asks for them."""
        up: Figures = {}
        seconds: Figures = {}
        found: Samples = {of.PART_UP.name: up, of.PART_SECONDS.name: seconds}
        for name, part in self._parts.items():
            started = time.monotonic()
            try:
                read = part()
            except SILENT as error:
                self._say(name, error)
                up[(name,)] = 0.0
            else:
                self._silent.discard(name)
                found |= read
                up[(name,)] = 1.0
            seconds[(name,)] = time.monotonic() - started
        for name, metric in METRICS.items():
            if name in found:
                yield family(metric, found[name])

    def _say(self, name: str, error: Exception) -> None:
        """Once, until it answers; without a traceback, since a part that is away is no fault."""
        if name in self._silent:
            return
        self._silent.add(name)
        first = str(error).partition("\n")[0]
        logger.warning("the %s does not answer, and its metrics are missing: %s", name, first)


def disk(folder: Path) -> Samples:
    """Space on the disk of a folder.

    Raises:
        OSError: the folder is not there.
    """
    usage = shutil.disk_usage(folder)
    return {of.DISK_FREE.name: {(): usage.free}, of.DISK_SIZE.name: {(): usage.total}}
