"""The relay, while its database or its broker fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from benchmarks.common import light_stage
from benchmarks.common.waiting import wait_until
from services import units
from services.context import Context
from services.db.engine import reading
from services.db.tables import Outbox
from services.worker import redis_server
from services.worker.app import make_app
from services.worker.relay import Relay

REFUSE = """
CREATE TRIGGER full_disk BEFORE UPDATE ON outbox BEGIN SELECT RAISE(ABORT, 'disk is full'); END
"""


@pytest.fixture
def asked(sqlite_context: Context, broker: str) -> Iterator[Context]:
    """A project with a broker, three units to announce, and a database that marks nothing."""
    light_stage.register_stages()
    with sqlite_context.sessions.begin() as session:
        for i in range(3):
            units.enqueue(session, "light", f"l:{i}", {})
        session.execute(text(REFUSE))
    return sqlite_context


def sent(broker: str) -> int:
    connection = redis_server.client(broker)
    try:
        return sum(int(str(connection.llen(key))) for key in connection.scan_iter("explain*"))
    finally:
        connection.close()


def unmarked(context: Context) -> int:
    with reading(context.sessions) as session:
        query = select(func.count()).where(Outbox.published_at.is_(None))
        return session.scalar(query) or 0


def heal(context: Context) -> None:
    with context.sessions.begin() as session:
        session.execute(text("DROP TRIGGER full_disk"))


def test_what_cannot_be_marked_is_not_sent_again_and_again(asked: Context, broker: str) -> None:
    relay = Relay(asked, make_app(asked.settings, asked.project))
    for _ in range(4):
        with pytest.raises(DBAPIError, match="disk is full"):
            relay.publish()
    assert (sent(broker), unmarked(asked)) == (3, 3)
    heal(asked)
    assert relay.publish() == 0
    assert (sent(broker), unmarked(asked)) == (3, 0)


def test_a_relay_outlives_its_database_and_says_so_once(
    asked: Context, broker: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.worker.relay.MAX_WAIT_S", 0.02)
    relay = Relay(asked, make_app(asked.settings, asked.project))
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: "disk is full" in caplog.text, 20, "the relay meets the trouble")
        assert thread.is_alive()
        heal(asked)
        wait_until(lambda: unmarked(asked) == 0, 20, "the outbox is empty")
    finally:
        stop.set()
        thread.join()
    assert sent(broker) == 3
    assert [line.partition(":")[0] for line in caplog.messages] == ["the outbox", "the outbox"]
