"""What workers count in the broker: over processes, their deaths, and a broker that is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.common.waiting import PATIENCE
from services import units
from services.context import Context
from services.telemetry import catalogue as of
from services.telemetry import counts
from services.telemetry.catalogue import Distribution, family
from services.telemetry.counts import Recorder
from services.telemetry.gpu import Gpu, used
from services.units.resident import Resident
from services.worker import alive, redis_server, shell, watched
from services.worker.alive import Giver, Sign
from tests.services.test_units_shell import SetWork, set_work, store_row

__all__ = ["set_work"]

COUNTING = """
import os, signal, sys
from functools import partial
from services.telemetry.counts import Recorder
from services.worker import redis_server
recorder = Recorder(partial(redis_server.client, sys.argv[1]))
for _ in range(100):
    recorder.unit("scan", "done", 0.2, 2.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def recorder_of(url: str) -> Recorder:
    return Recorder(partial(redis_server.client, url))


def read(url: str) -> Any:
    connection = redis_server.client(url)
    try:
        return counts.read(connection)
    finally:
        connection.close()


def distribution(url: str, metric: of.Metric, *labels: str) -> Distribution:
    found = read(url)[metric.name][labels]
    assert isinstance(found, Distribution)
    return found


def test_processes_add_to_one_histogram_and_their_death_takes_nothing(broker: str) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", COUNTING, broker]) for _ in range(2)]
    assert [process.wait(120 * PATIENCE) for process in processes] == [-signal.SIGKILL] * 2
    took = distribution(broker, of.UNIT_SECONDS, "scan", "done")
    assert took.counts[of.UNIT_BUCKETS.index(0.25)] == sum(took.counts) == 200
    assert took.total == pytest.approx(40.0)
    waited = distribution(broker, of.WAIT_SECONDS, "scan")
    assert waited.counts[of.UNIT_BUCKETS.index(2.5)] == 200


def test_a_value_at_a_bound_is_within_it_and_the_largest_has_none(broker: str) -> None:
    recorder = recorder_of(broker)
    for seconds in (0.1, 0.1001, 1e9):
        recorder.unit("train", "queued", seconds, 0.0)
    took = distribution(broker, of.UNIT_SECONDS, "train", "queued")
    assert took.counts[:2] == (1, 1)
    assert took.counts[-1] == 1
    exposed = family(of.UNIT_SECONDS, {("train", "queued"): took})
    bounds = {one.labels.get("le"): one.value for one in exposed.samples}
    assert (bounds["0.1"], bounds["14400.0"], bounds["+Inf"]) == (1, 2, 3)


def test_a_broker_that_is_away_holds_up_nothing_and_what_was_counted_is_added_later(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = redis_server.client(broker)
    pid = connection.info("server")["process_id"]
    connection.close()
    asked: list[str] = []

    def connect() -> Any:
        asked.append("once")
        return redis_server.client(broker, timeout_s=0.2)

    recorder = Recorder(connect)
    recorder.unit("scan", "done", 1.0, 0.0)
    os.kill(pid, signal.SIGSTOP)
    sent = []
    send = recorder._send

    def counted() -> None:
        sent.append(1)
        send()

    monkeypatch.setattr(recorder, "_send", counted)
    for _ in range(50):
        recorder.unit("scan", "done", 1.0, 0.0)
    assert len(sent) == 1  # the others did not wait for it
    os.kill(pid, signal.SIGCONT)
    monkeypatch.setattr(recorder, "_not_before", 0.0)
    recorder.unit("scan", "done", 1.0, 0.0)
    counted_now = sum(distribution(broker, of.UNIT_SECONDS, "scan", "done").counts)
    # The one that the broker took while it seemed silent may count twice.
    assert counted_now in (52, 53)


def test_another_kind_of_broker_is_no_reason_to_fail() -> None:
    Recorder(partial(redis_server.client, "memory://")).unit("scan", "done", 1.0, 0.0)


def test_what_is_no_count_of_ours_is_left_out(broker: str) -> None:
    recorder_of(broker).unit("a plug-in's", "unheard of", 1.0, 0.0)
    connection = redis_server.client(broker)
    name = of.UNIT_SECONDS.name
    for field in (
        "no JSON",
        json.dumps([name, "scan", "done", "x"]),
        json.dumps([name, 'evil"', "done", "1.0"]),
        json.dumps([name, "scan", "1.0"]),
        json.dumps(["e2x_gone", "scan", "1.0"]),
        json.dumps([of.UNITS.name, "scan", "explain", "queued", "1.0"]),
        json.dumps([name, ["scan"], "done", "1.0"]),
        json.dumps(7),
    ):
        connection.hset(counts.COUNTS, field, "3")
    # Of a version with finer buckets: counted in the next one of ours.
    connection.hset(counts.COUNTS, json.dumps([name, "scan", "done", "0.2"]), "3")
    connection.close()
    found = read(broker)[name]
    assert set(found) == {("other", "other"), ("other", "done"), ("scan", "done")}
    assert sum(found["other", "done"].counts) == 6  # what it does not know is not a label
    assert found["scan", "done"].counts[of.UNIT_BUCKETS.index(0.25)] == 3


def test_memory_of_a_gpu_is_told_once_for_all_its_processes(broker: str) -> None:
    connection = redis_server.client(broker)
    for pid, taken, held, at in ((1, 70, 20, 100.0), (2, 60, 30, 200.0)):
        seen = Gpu("box", "uuid", taken, 80, held, at)
        connection.set(f"{counts.GPUS}box:{pid}", json.dumps(seen.to_dict()), ex=60)
    connection.close()
    found = read(broker)
    assert found[of.GPU_USED.name] == {("box", "uuid"): 60.0}  # as it was seen last
    assert found[of.GPU_SIZE.name] == {("box", "uuid"): 80.0}
    assert found[of.GPU_RESERVED.name] == {("box", "uuid"): 50.0}


def test_a_process_without_a_gpu_says_nothing_of_one() -> None:
    if not torch.cuda.is_initialized():
        assert used() is None


@pytest.mark.gpu
def test_memory_of_the_gpu_that_is_used() -> None:
    held = torch.zeros(2**24, device="cuda")  # 64 MiB
    seen = used()
    assert seen is not None
    assert seen.size_bytes >= seen.used_bytes >= seen.reserved_bytes >= held.nbytes


def test_the_shell_counts_each_try_with_what_came_of_it(
    sqlite_context: Context, broker: str, set_work: SetWork
) -> None:
    context, recorder = sqlite_context, recorder_of(broker)

    def run(unit_id: int) -> str:
        return shell.run(context, Resident(), unit_id, "me", recorder)

    def enqueue(key: str) -> int:
        with context.sessions.begin() as session:
            return units.enqueue(session, "shell_test", key, {}).id

    set_work(lambda _stage, _claim: store_row)
    done = enqueue("done")
    assert [run(done), run(done)] == ["done", "skipped"]

    def broken(_stage: Any, _claim: Any) -> Any:
        raise RuntimeError("broken")

    set_work(broken)
    assert run(enqueue("broken")) == "queued"

    def stopped(_stage: Any, _claim: Any) -> Any:
        raise SystemExit

    set_work(stopped)
    with pytest.raises(SystemExit):
        run(enqueue("stopped"))
    found = {labels: sum(one.counts) for labels, one in read(broker)[of.UNIT_SECONDS.name].items()}
    kind = "shell_test"
    assert found == {(kind, "done"): 1, (kind, "queued"): 1, (kind, "given_back"): 1}
    assert sum(distribution(broker, of.WAIT_SECONDS, kind).counts) == 3


def test_signs_of_life_are_counted_by_queue(sqlite_context: Context, broker: str) -> None:
    text = watched.exposition(sqlite_context).text().decode()
    assert "e2x_relays 0.0" in text
    assert 'e2x_workers{queue="train"} 0.0' in text
    Giver(broker, Sign(alive.RELAY, "relay")).give()
    Giver(broker, Sign(alive.WORKER, "a", ("explain", "embed"))).give()
    Giver(broker, Sign(alive.WORKER, "b", ("explain", "none of ours"))).give()
    text = watched.exposition(sqlite_context).text().decode()
    assert "e2x_relays 1.0" in text
    assert 'e2x_workers{queue="explain"} 2.0' in text
    assert 'e2x_workers{queue="other"} 1.0' in text
    assert 'e2x_part_up{part="broker"} 1.0' in text


def test_a_broker_that_is_away_is_said(
    sqlite_context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    exposition = watched.exposition(sqlite_context)
    exposition.text()
    text = exposition.text().decode()
    (said,) = caplog.records  # once, and in one line
    assert "the broker does not answer, and its metrics are missing" in said.getMessage()
    assert said.exc_info is None
    assert 'e2x_part_up{part="broker"} 0.0' in text
    assert 'e2x_part_up{part="database"} 1.0' in text
    assert "e2x_relays" not in text
