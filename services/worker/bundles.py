"""Which units go into one message.

A message costs the relay, the broker and the worker a few milliseconds, as much as many units take
by themselves. So units of one kind that are quick go together, many in a message, by what workers
have told that they take (:mod:`services.telemetry.pace`). A message is one worker's: slow units go
one by one, so that others get their share.

Of a kind that nobody has told of, some go together where very many wait; a worker that finds them
to be slow sends on what it has not begun.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import redis

from services.telemetry import counts
from services.telemetry.pace import BUNDLE_S, together
from services.worker import alive, redis_server

logger = logging.getLogger(__name__)

UNKNOWN_MOST, UNKNOWN_MESSAGES = 8, 64
"""Of a kind that nobody has told of: units in a message at most, and messages among which they are
divided first."""
PACES_S, SIGNS_S = 0.25, 3.0
"""How often the broker is asked what units take, and who is alive."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the outbox that is due.

    Attributes:
        id: of the row.
        unit_id: that it announces.
        queue: of the unit.
        priority: of the unit.
        kind: of the unit.
        tried: whether the unit was tried before; then it goes alone, whatever it takes.
        created_at: since when the row waits, UTC.
        traceparent: the span that asked for the unit; None where nothing is traced.
    """

    id: int
    unit_id: int
    queue: str
    priority: int
    kind: str
    tried: bool
    created_at: datetime
    traceparent: str | None = None


class Bundler:
    """Divides what waits in the outbox among messages.

    Args:
        url: of the broker.
        clock: seconds that never go back.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._paces: dict[str, float] = {}
        self._alone: frozenset[str] = frozenset()
        """Queues that a worker of before serves: it would do the first unit of a message only."""
        self._paces_at = self._signs_at = -SIGNS_S

    def divide(self, rows: Sequence[Waiting]) -> Iterator[list[Waiting]]:
        """Messages in the order in which they are sent; each of one queue, priority and kind.

        Args:
            rows: in the order in which they should be sent.
        """
        if len(rows) > 1:
            self._look()
        groups: dict[tuple[str, int, str], list[Waiting]] = {}
        alone: list[Waiting] = []
        for row in rows:
            if row.tried or row.queue in self._alone:
                alone.append(row)
            else:
                groups.setdefault((row.queue, row.priority, row.kind), []).append(row)
        messages = [[row] for row in alone]
        for (_, _, kind), members in groups.items():
            size = self._size(kind, len(members))
            messages += [members[at : at + size] for at in range(0, len(members), size)]
        yield from sorted(messages, key=_order)

    def _size(self, kind: str, number: int) -> int:
        if kind in self._paces:
            return together(self._paces[kind], BUNDLE_S)
        return max(1, min(UNKNOWN_MOST, number // UNKNOWN_MESSAGES))

    def _look(self) -> None:
        """Ask the broker; one that is away is as it was."""
        now = self._clock()
        try:
            if now - self._signs_at >= SIGNS_S:
                self._signs_at = now
                self._alone = frozenset(_served_by_old(alive.signs(self._url)))
            if now - self._paces_at >= PACES_S:
                self._paces_at = now
                self._paces = self._read_paces()
        except (redis.RedisError, OSError, ValueError) as error:
            logger.debug("nobody tells what units take: %s", error)

    def _read_paces(self) -> dict[str, float]:
        client = redis_server.client(self._url)
        try:
            return counts.paces(client)
        finally:
            client.close()


def _served_by_old(signs: Iterable[alive.Sign]) -> Iterator[str]:
    for sign in signs:
        if sign.kind == alive.WORKER and not sign.bundles:
            yield from sign.queues


def _order(message: Sequence[Waiting]) -> tuple[int, int]:
    """The most urgent first, then the oldest."""
    return -message[0].priority, message[0].id
