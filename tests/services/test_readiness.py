"""``/readyz``: which part of the service does not do its work."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from benchmarks.common.waiting import wait_until
from services.api.app import create_app
from services.api.routes import health
from services.context import Context
from services.worker import alive, readiness, redis_server
from services.worker.alive import Giver, Sign


def states(context: Context) -> dict[str, bool]:
    return {name: part.ready for name, part in readiness.look(context).parts.items()}


def test_every_part_is_named(sqlite_context: Context, broker: str) -> None:
    part = {"database": True, "broker": True, "relay": False, "workers": False}
    assert states(sqlite_context) == part
    Giver(broker, Sign(alive.RELAY, "relay")).give()
    Giver(broker, Sign(alive.WORKER, "worker-explain", ("explain", "embed"))).give()
    seen = readiness.look(sqlite_context)
    assert (seen.ready, seen.status) == (True, "ready")
    assert "nobody serves index, train, default" in seen.parts["workers"].detail


def test_a_sign_of_life_that_does_not_come_again_is_forgotten(
    sqlite_context: Context, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alive, "KEEP_S", 1)
    Giver(broker, Sign(alive.RELAY, "relay")).give()
    assert states(sqlite_context)["relay"]
    wait_until(lambda: not states(sqlite_context)["relay"], 10, "the relay is missed")


def test_a_broker_that_hangs_is_missed(sqlite_context: Context, broker: str) -> None:
    connection = redis_server.client(broker)
    pid = connection.info("server")["process_id"]
    connection.close()
    os.kill(pid, signal.SIGSTOP)
    seen = readiness.look(sqlite_context)
    assert not seen.parts["broker"].ready
    assert "unknown" in seen.parts["workers"].detail


def test_strangers_who_ask_at_once_cost_one_look(
    sqlite_context: Context, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def count(_c: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        looks.append(statement)

    event.listen(sqlite_context.engine, "before_cursor_execute", count)
    monkeypatch.setattr(health, "FRESH_S", 600.0)
    with TestClient(create_app(sqlite_context)) as client:
        looks.clear()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.get("/readyz"), range(24)))
        assert looks.count("SELECT 1") == 1
        assert {answer.json()["code"] for answer in answers} == {"relay_unavailable"}
        monkeypatch.setattr(health, "FRESH_S", 0.0)
        client.get("/readyz")
        assert looks.count("SELECT 1") == 2


def test_the_api_says_which_part_is_not_ready(
    sqlite_context: Context, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    with TestClient(create_app(sqlite_context)) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["code"] == "relay_unavailable"
        assert answer.json()["parts"]["database"] == {"ready": True, "detail": "answers"}
        Giver(broker, Sign(alive.RELAY, "relay")).give()
        Giver(broker, Sign(alive.WORKER, "worker-all", readiness.QUEUES)).give()
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
