"""What can be watched of a project, from whichever process looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

from services.context import Context
from services.telemetry import catalogue as of
from services.telemetry import counts
from services.telemetry.catalogue import Samples, bounded
from services.telemetry.database import DatabaseReader
from services.telemetry.exposition import Exposition, Part, disk
from services.units.pipeline import QUEUES
from services.worker import alive, redis_server


def exposition(
    context: Context, more: Mapping[str, Part] | None = None, process: bool = False
) -> Exposition:
    """All metrics of a project.

    Args:
        context: its wiring.
        more: further parts, such as what the process that asks has counted.
        process: whether to add that process's own memory, processor time and open files.
    """
    url = redis_server.broker_url(context.settings, context.project)
    parts: dict[str, Part] = {
        "database": DatabaseReader(context).read,
        "broker": partial(_broker, url),
        "disk": partial(disk, context.project.root),
        **(more or {}),
    }
    return Exposition(parts, process)


def _broker(url: str) -> Samples:
    """Signs of life, and what workers have counted."""
    signs = alive.signs(url)
    kinds = Counter(sign.kind for sign in signs)
    served = Counter({(queue,): 0 for queue in QUEUES})
    for sign in signs:
        if sign.kind == alive.WORKER:
            served.update((bounded(queue, QUEUES),) for queue in sign.queues)
    connection = redis_server.client(url)
    try:
        counted = counts.read(connection)
    finally:
        connection.close()
    return {
        **counted,
        of.RELAYS.name: {(): float(kinds[alive.RELAY])},
        of.SCHEDULERS.name: {(): float(kinds[alive.SCHEDULER])},
        of.WORKERS.name: {queue: float(count) for queue, count in served.items()},
    }
