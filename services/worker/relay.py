"""The relay: it takes messages from the outbox to the broker.

A message is sent first and marked afterwards, so that a relay that dies between the two sends it
again: twice is harmless, never is not. Several relays may run. While the broker is away the rows
stay where they are.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import select, update

from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import Patience
from services.db.tables import Outbox, Unit
from services.worker.tasks import RUN_UNIT

logger = logging.getLogger(__name__)

BATCH = 200
MAX_WAIT_S = 5.0
URGENT, NORMAL, PATIENT = 0, 3, 6
"""Priorities of the Redis transport; 0 is served first."""


class Relay:
    """Publishes what waits in the outbox of one database."""

    def __init__(self, context: Context, app: Celery) -> None:
        self._context = context
        self._app = app
        self._connection = app.connection_for_write()
        self._producer = app.amqp.Producer(self._connection, auto_declare=False)

    def publish(self, limit: int = BATCH) -> int:
        """Send what is due.

        Returns:
            How many messages were sent.

        Raises:
            OperationalError: the broker cannot be reached; what was not sent stays.
        """
        sent: list[int] = []
        try:
            for row in self._due(limit):
                self._send(row)
                sent.append(row.id)
        finally:
            self._mark(sent, utc_now())
        return len(sent)

    def reconnect(self) -> None:
        """Forget the connection to the broker and open another on next use."""
        self._connection.release()
        self._connection = self._app.connection_for_write()
        self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)

    def run(self, stop: threading.Event) -> None:
        """Publish until told to stop."""
        interval_s = self._context.settings.workers.relay_interval_s
        wait_s = interval_s
        while not stop.is_set():
            try:
                if self.publish() == BATCH:
                    continue
                wait_s = interval_s
            except OperationalError as error:
                wait_s = min(MAX_WAIT_S, wait_s * 2)
                logger.warning("the broker is away, trying again in %.1f s: %s", wait_s, error)
                self.reconnect()
            stop.wait(wait_s)

    def _due(self, limit: int) -> list[Outbox]:
        """Rows to send; a unit that must wait after a failed try is not announced before.

        One that somebody has taken, or that has ended, needs no message any more.
        """
        with reading(self._context.sessions) as session:
            return list(
                session.scalars(
                    select(Outbox)
                    .join(Unit, Unit.id == Outbox.unit_id)
                    .where(Outbox.published_at.is_(None), Patience.of(session).is_due(utc_now()))
                    .order_by(Outbox.priority.desc(), Outbox.id)
                    .limit(limit)
                )
            )

    def _send(self, row: Outbox) -> None:
        priority = URGENT if row.priority > 0 else PATIENT if row.priority < 0 else NORMAL
        self._app.send_task(
            RUN_UNIT,
            args=[row.unit_id],
            queue=row.queue,
            priority=priority,
            producer=self._producer,
            retry=False,
        )

    def _mark(self, sent: list[int], now: datetime) -> None:
        if not sent:
            return
        with self._context.sessions.begin() as session:
            session.execute(update(Outbox).where(Outbox.id.in_(sent)).values(published_at=now))
