"""Which units go together: what a message holds, and what workers tell of that."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from services.context import Context
from services.db.base import utc_now
from services.db.tables import UnitState
from services.telemetry import counts
from services.telemetry.counts import Recorder
from services.telemetry.pace import MOST, Pace
from services.units.resident import Resident
from services.worker import alive, bundles, redis_server, turn
from services.worker.app import make_app
from services.worker.bundles import Bundler, Waiting
from services.worker.relay import Relay
from tests.services.together import KIND, Work, ask, messages, states


def test_quick_units_go_together_slow_ones_alone() -> None:
    pace = Pace()
    assert pace.group("scan") == 1
    for _ in range(30):
        pace.took("scan", 0.001)
        pace.took("explain", 10.0)
    assert pace.group("scan") == MOST
    assert pace.group("explain") == 1
    for _ in range(30):
        pace.took("scan", 10.0)
    assert pace.group("scan") == 1


def waiting(number: int, **values: Any) -> Waiting:
    told = {"unit_id": number, "queue": "explain", "priority": 0, "kind": KIND, "tried": False}
    return Waiting(id=number, **{**told, "created_at": utc_now(), **values})


def told(broker: str, **paces: float) -> None:
    client = redis_server.client(broker)
    for kind, seconds in paces.items():
        client.hset(counts.PACES, kind, str(seconds))
    client.close()


def test_messages_hold_as_much_as_workers_have_told(broker: str) -> None:
    told(broker, **{KIND: 0.01, "slow": 10.0})
    rows = [waiting(i) for i in range(100)] + [waiting(100 + i, kind="slow") for i in range(3)]
    sizes = [len(message) for message in Bundler(broker).divide(rows)]
    assert sizes == [50, 50, 1, 1, 1]


def test_of_a_kind_nobody_has_told_of_some_go_together_where_very_many_wait(broker: str) -> None:
    few = list(Bundler(broker).divide([waiting(i) for i in range(40)]))
    assert [len(one) for one in few] == [1] * 40
    many = list(Bundler(broker).divide([waiting(i) for i in range(1000)]))
    assert {len(one) for one in many} == {bundles.UNKNOWN_MOST}
    assert sum(len(one) for one in many) == 1000


def test_a_message_is_of_one_queue_kind_and_priority_and_none_was_tried(broker: str) -> None:
    told(broker, **{KIND: 0.001, "index": 0.001})
    rows = [
        waiting(0, priority=5),
        waiting(1),
        waiting(2, tried=True),
        waiting(3, kind="index", queue="index"),
        waiting(4, priority=5),
        waiting(5),
    ]
    found = [[row.id for row in message] for message in Bundler(broker).divide(rows)]
    assert found == [[0, 4], [1, 5], [2], [3]]


def test_a_worker_of_before_is_sent_units_one_by_one(broker: str) -> None:
    """It would take the first of a message and leave the others until they are missed."""
    told(broker, **{KIND: 0.001, "index": 0.001})
    alive.Giver(broker, alive.Sign(alive.WORKER, "new", ("explain", "index"))).give()
    rows = [waiting(i) for i in range(3)] + [waiting(9 + i, queue="index") for i in range(3)]
    assert [len(one) for one in Bundler(broker).divide(rows)] == [3, 3]
    client = redis_server.client(broker)
    said = {"kind": alive.WORKER, "name": "old", "queues": ["explain"]}
    client.set(f"{alive.PREFIX}worker:old@h:1", json.dumps(said))
    client.close()
    assert [len(one) for one in Bundler(broker).divide(rows)] == [1, 1, 1, 3]


def test_the_relay_sends_quick_units_in_few_messages(
    sqlite_context: Context, broker: str, set_work: Callable[[Work], None]
) -> None:
    told(broker, **{KIND: 0.005})
    ids = ask(sqlite_context, 250)
    relay = Relay(sqlite_context, make_app(sqlite_context.settings, sqlite_context.project))
    assert relay.publish() == 250
    assert relay.publish() == 0
    client = redis_server.client(broker)
    assert sum(int(str(client.llen(key))) for key in client.scan_iter("explain*")) == 3
    client.close()
    assert messages(sqlite_context) == Counter(ids)


def test_a_group_tells_the_relay_what_its_units_take(
    sqlite_context: Context, broker: str, set_work: Callable[[Work], None]
) -> None:
    recorder = Recorder(partial(redis_server.client, broker))
    ids = ask(sqlite_context, 20)
    turn.take(sqlite_context, Resident(), ids, KIND, "me", recorder)
    assert states(sqlite_context, ids) == [UnitState.DONE] * 20
    client = redis_server.client(broker)
    assert counts.paces(client)[KIND] > 0
    client.close()
