"""The file that every process touches at its signs of life, for the probes of containers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services.context import Context
from services.worker import alive
from services.worker.alive import Giver, Sign
from services.worker.environment import environment_of


def test_a_broker_that_is_away_does_not_stop_the_touching(tmp_path: Path) -> None:
    file = tmp_path / "alive"

    Giver("redis://127.0.0.1:1/0", Sign(alive.RELAY, "relay"), file).give()

    assert file.is_file()


def test_a_folder_that_is_gone_stops_no_process(tmp_path: Path, broker: str) -> None:
    Giver(broker, Sign(alive.RELAY, "relay"), tmp_path / "gone" / "alive").give()

    assert [sign.name for sign in alive.signs(broker)] == ["relay"]


@pytest.mark.parametrize("arguments", [["relay"], ["beat"], ["worker", "--queues=default"]])
def test_each_program_touches_it_and_goes_on_doing_so(
    sqlite_context: Context, broker: str, tmp_path: Path, arguments: list[str]
) -> None:
    file = tmp_path / "alive"
    context = make_context(
        sqlite_context.project.root,
        str(sqlite_context.engine.url),
        workers={"alive_file": file},
        logs={"to": "stderr"},
    )
    environment = {**os.environ, **environment_of(context.settings)}
    context.engine.dispose()
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.worker", *arguments], env=environment, stderr=said
        )
    try:
        for _ in range(2):
            wait_until(file.is_file, 60, f"{arguments} gives no sign of life")
            file.unlink()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60 * PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert not list(sqlite_context.project.logs.iterdir())


def test_without_the_setting_there_is_none(sqlite_context: Context, broker: str) -> None:
    from services.worker.app import make_app
    from services.worker.relay import Relay

    class Once(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    before = set(sqlite_context.project.root.rglob("*"))
    app = make_app(sqlite_context.settings, sqlite_context.project)
    Relay(sqlite_context, app).run(Once())

    assert [sign.name for sign in alive.signs(broker)] == ["relay"]
    assert set(sqlite_context.project.root.rglob("*")) == before
