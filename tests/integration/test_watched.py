"""What real workers count reaches who watches, and outlasts them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.common import light_stage
from benchmarks.common.processes import supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services import units
from services.context import Context
from services.worker import watched

pytestmark = pytest.mark.whole

WORKERS = {"explain": ("explain",), "default": ("default",)}


@pytest.fixture
def quick(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    light_stage.register_stages()
    wired = make_context(
        tmp_path / "p", sqlite_url, workers=QUICK_WORKERS, telemetry={"totals_interval_s": 0}
    )
    yield wired
    wired.engine.dispose()


def figure(context: Context, name: str, **labels: str) -> float:
    """The sum of all samples of this name with these labels."""
    text = watched.exposition(context).text().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def ask(context: Context, *keys: str, **payload: object) -> None:
    with context.sessions.begin() as session:
        for key in keys:
            units.enqueue(session, "light", key, dict(payload))


def counted(context: Context, outcome: str) -> float:
    return figure(context, "e2x_unit_seconds_count", kind="light", outcome=outcome)


def test_what_workers_did_is_seen_and_a_killed_one_takes_nothing_with_it(quick: Context) -> None:
    with supervisor_of(quick, WORKERS) as up:
        up.wait_ready()
        ask(quick, *(f"first {number}" for number in range(10)))
        wait_until(lambda: counted(quick, "done") == 10, 60, "ten units are counted")
        assert figure(quick, "e2x_units", kind="light", state="done") == 10
        assert figure(quick, "e2x_unit_wait_seconds_count", kind="light") == 10
        assert figure(quick, "e2x_relays") == 1
        assert figure(quick, "e2x_schedulers") == 1
        assert figure(quick, "e2x_workers", queue="explain") == 1
        assert figure(quick, "e2x_workers", queue="train") == 0

        worker = psutil.Process(up.pids["worker-explain"])
        for child in worker.children():
            os.kill(child.pid, signal.SIGKILL)
        ask(quick, *(f"second {number}" for number in range(5)))
        ask(quick, "broken", fail="refused")
        wait_until(lambda: counted(quick, "dead") == 1, 60, "the last one is counted")
        wait_until(lambda: counted(quick, "done") == 15, 60, "those of the new process too")
        assert figure(quick, "e2x_units", kind="light", state="dead") == 1
        assert figure(quick, "e2x_leases", kind="light") == 0
        assert figure(quick, "e2x_outbox_messages") == 0
