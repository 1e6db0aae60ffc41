"""The relay: it takes messages from the outbox to the broker.

A message is sent first and marked afterwards, so that a relay that dies between the two sends it
again: twice is harmless, never is not. Several relays may run. While the broker is away the rows
stay where they are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from celery import Celery
from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from services import tracing
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import Patience
from services.db.tables import Outbox, Unit
from services.troubles import Troubles
from services.worker import alive, redis_server
from services.worker.bundles import Bundler, Waiting
from services.worker.tasks import RUN_UNIT

logger = logging.getLogger(__name__)

BATCH = 1000
"""Units between two marks: a relay that dies announces so many twice at most."""
MAX_WAIT_S = 5.0
"""The longest pause while the broker is away: work begins so soon after it is back."""
URGENT, NORMAL, PATIENT = 0, 3, 6
"""Priorities of the Redis transport; 0 is served first."""


class Relay:
    """Publishes what waits in the outbox of one database."""

    def __init__(self, context: Context, app: Celery) -> None:
        self._context = context
        self._app = app
        self._connection = app.connection_for_write()
        self._producer = app.amqp.Producer(self._connection, auto_declare=False)
        self._unmarked: list[int] = []
        """Sent, and not marked yet: on a full disk nothing can be."""
        self._troubles = Troubles(logger)
        url = redis_server.broker_url(context.settings, context.project)
        file = context.settings.workers.alive_file
        self._alive = alive.Giver(url, alive.Sign(alive.RELAY, alive.RELAY), file)
        self._bundler = Bundler(url)

    def publish(self, limit: int = BATCH) -> int:
        """Send what is due.

        Returns:
            How many units were announced.

        Raises:
            OperationalError: the broker cannot be reached; what was not sent stays.
            SQLAlchemyError: the database cannot be read or written. What was sent and could not be
                marked is not sent again by this relay, and nothing else is until it is marked.
        """
        self._mark()
        sent = 0
        try:
            for bundle in self._bundler.divide(self._due(limit)):
                self._send(bundle)
                for row in bundle:
                    _trace(row)
                self._unmarked += [row.id for row in bundle]
                sent += len(bundle)
        finally:
            self._mark()
        return sent

    def reconnect(self) -> None:
        """Forget the connection to the broker and open another on next use."""
        self._connection.release()
        self._connection = self._app.connection_for_write()
        self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)

    def run(self, stop: threading.Event) -> None:
        """Publish until told to stop; neither a broker, a database nor a disk that fails ends it.

        While it works it gives signs of life.
        """
        interval_s = self._context.settings.workers.relay_interval_s
        wait_s = interval_s
        while not stop.is_set():
            try:
                full = self.publish() == BATCH
                self._alive.give()
            except Exception as error:
                wait_s = min(MAX_WAIT_S, wait_s * 2)
                self._troubles.met("the outbox", error)
                if not isinstance(error, SQLAlchemyError):
                    self.reconnect()
            else:
                self._troubles.over("the outbox")
                wait_s = interval_s
                if full:
                    continue
            stop.wait(wait_s)

    def _due(self, limit: int) -> list[Waiting]:
        """Rows to send; a unit that must wait after a failed try is not announced before.

        One that somebody has taken, or that has ended, needs no message any more.
        """
        tried = or_(Unit.attempts > 0, Unit.lost > 0)
        with reading(self._context.sessions) as session:
            found = session.execute(
                select(
                    *(Outbox.id, Outbox.unit_id, Outbox.queue, Outbox.priority, Unit.kind, tried),
                    *(Outbox.created_at, Unit.traceparent),
                )
                .join(Unit, Unit.id == Outbox.unit_id)
                .where(Outbox.published_at.is_(None), Patience.of(session).is_due(utc_now()))
                .order_by(Outbox.priority.desc(), Outbox.id)
                .limit(limit)
            )
            return [Waiting(*row) for row in found]

    def _send(self, bundle: Sequence[Waiting]) -> None:
        first, *more = bundle
        priority = URGENT if first.priority > 0 else PATIENT if first.priority < 0 else NORMAL
        others = {"more": [row.unit_id for row in more], "kind": first.kind} if more else {}
        self._app.send_task(
            RUN_UNIT,
            args=[first.unit_id],
            kwargs=others,
            queue=first.queue,
            priority=priority,
            producer=self._producer,
            retry=False,
        )

    def _mark(self) -> None:
        if not self._unmarked:
            return
        with self._context.sessions.begin() as session:
            session.execute(
                update(Outbox).where(Outbox.id.in_(self._unmarked)).values(published_at=utc_now())
            )
        self._unmarked.clear()


def _trace(row: Waiting) -> None:
    """How long a message lay in the outbox, in the trace of its unit."""
    if tracing.is_on() and row.traceparent is not None:
        tracing.record(
            "outbox",
            parent=row.traceparent,
            started_at=row.created_at,
            ended_at=utc_now(),
            kind="producer",
            values={"e2x.unit": row.unit_id, "e2x.queue": row.queue},
        )
