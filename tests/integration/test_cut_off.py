"""Hosts in network namespaces of their own: cut off, without a database, without a store.

The second host's clock is five minutes ahead where `libfaketime` is installed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select
from sqlalchemy.orm import Session

from benchmarks.common import light_stage
from benchmarks.common.databases import migrated, run_postgres
from benchmarks.common.processes import LIGHT, ROOT, stop, supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context, make_project
from benchmarks.common.waiting import PATIENCE, wait_until
from services import units
from services.context import Context
from services.db.engine import reading
from services.db.tables import Audit, Unit, UnitState
from services.store.project_store import store_of
from services.worker import redis_server
from services.worker.environment import environment_of
from tests.service_fixtures import run_seaweed

LEASE_S = 4.0
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
AHEAD_S = 300
LONG_S = 240
AWAY_S = 60.0
"""The store refuses for so long: many times the patience of a worker."""


def require_namespaces() -> None:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("NO TEST WITH NETWORK NAMESPACES RUNS: it takes root and `ip`")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30 * PATIENCE)


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace with one line to this machine.

    Attributes:
        name: of the namespace.
        device: this machine's end of the line.
        here: this machine's address as the host sees it.
    """

    name: str
    device: str
    here: str

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Nothing passes, and nobody is told."""
        run("ip", "link", "set", self.device, "down")
        try:
            yield
        finally:
            run("ip", "link", "set", self.device, "up")


@contextmanager
def host(number: int) -> Iterator[Host]:
    """A namespace of this test's own."""
    mark = secrets.token_hex(2)
    name, device = f"e2x-{mark}-{number}", f"e2x{mark}{number}"
    net = f"10.{200 + number}.{int(mark[:2], 16)}"
    made = Host(name, device, f"{net}.1")
    inside = ("ip", "netns", "exec", name)
    try:
        run("ip", "netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        pytest.skip(f"NO TEST WITH NETWORK NAMESPACES RUNS: {said.decode().strip()}")
    try:
        run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "address", "add", f"{net}.1/24", "dev", device)
        run("ip", "link", "set", device, "up")
        run(*inside, "ip", "address", "add", f"{net}.2/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        run(*inside, "ip", "link", "set", "lo", "up")
        yield made
    finally:
        run("ip", "netns", "delete", name)


def carry(address: str, port: int) -> socket.socket:
    """Listen where hosts reach it, for a server that listens to this machine only."""
    listener = socket.create_server((address, port))

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # Told to both ends, not closed alone: a thread that waits in the other direction would
            # keep the connection, and whoever is at its end would wait for an answer.
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:  # the server is away: who asks is refused, as by itself
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener


@contextmanager
def redis_on(folder: Path, *addresses: str) -> Iterator[int]:
    """A Redis server on several addresses; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--protected-mode", "no", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(
        [redis_server._executable(), "--bind", "127.0.0.1", *addresses, *options],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: redis_server.answers(f"redis://127.0.0.1:{port}"), 30, "Redis answers")
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker_on(where: Host, folder: Path, context: Context, ahead_s: int = 0) -> Iterator[Path]:
    """``e2x worker`` on a host with a folder of its own; where its logs lie."""
    make_project(folder)
    reached = {
        "E2X_DATABASE_URL": context.settings.database_url.replace("127.0.0.1", where.here),
        "E2X_BROKER_URL": context.settings.broker_url.replace("127.0.0.1", where.here),
        "E2X_STORAGE__ENDPOINT": context.settings.storage.endpoint.replace("127.0.0.1", where.here),
    }
    clock = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME": f"+{ahead_s}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    variables = {
        **os.environ,
        **environment_of(context.settings),
        **reached,
        "PYTHONPATH": str(ROOT),
        "E2X_EXTRA_STAGES": LIGHT,
        **(clock if ahead_s else {}),
    }
    command = [sys.executable, "-m", "services.cli", "--project", str(folder), "worker"]
    process = subprocess.Popen(
        ["ip", "netns", "exec", where.name, *command, "--queues=explain"],
        cwd=folder.parent,
        env=variables,
    )
    try:
        yield folder / "logs"
    finally:
        stop(process)


def owners(context: Context) -> list[str | None]:
    with reading(context.sessions) as session:
        return list(session.scalars(select(Unit.owner).where(Unit.state == UnitState.LEASED)))


def counted(session: Session) -> Counter[str]:
    return Counter(session.scalars(select(Audit.subject).where(Audit.action == "light")))


@pytest.mark.timeout(900)
def test_a_host_that_is_cut_off_and_comes_back_writes_nothing_late(
    tmp_path: Path, postgres_url: str
) -> None:
    require_namespaces()
    light_stage.register_stages()
    port = make_url(postgres_url).port
    assert port is not None
    with ExitStack() as stack:
        one, two = (stack.enter_context(host(number)) for number in (1, 2))
        broker = stack.enter_context(redis_on(tmp_path, one.here, two.here))
        for each in (one, two):
            stack.callback(carry(each.here, port).close)
        context = make_context(
            tmp_path / "main",
            postgres_url,
            broker_url=f"redis://127.0.0.1:{broker}/0",
            workers={**QUICK_WORKERS, "lease_s": LEASE_S},
        )
        stack.callback(context.engine.dispose)
        stack.enter_context(supervisor_of(context, {"default": ("default",)})).wait_ready()
        logs = stack.enter_context(worker_on(one, tmp_path / "one", context))
        with context.sessions.begin() as session:
            number = units.enqueue(session, "light", "long", {"seconds": 3 * LEASE_S}).id
        wait_until(lambda: len(owners(context)) == 1, LONG_S, "the first host has the unit")

        with one.cut_off():
            ahead_s = AHEAD_S if Path(FAKETIME).is_file() else 0
            stack.enter_context(worker_on(two, tmp_path / "two", context, ahead_s))

            def is_done() -> bool:
                with reading(context.sessions) as session:
                    return session.get_one(Unit, number).state == UnitState.DONE

            wait_until(is_done, LONG_S, "the second host has done it")

        def refused() -> bool:
            return any("dropped: " in path.read_text() for path in logs.glob("*.log"))

        wait_until(refused, LONG_S, "the first host hears that its lease is another's")
        with context.sessions.begin() as session:  # and it works on
            for extra in range(20):
                units.enqueue(session, "light", f"light:{extra}", {"seconds": 0.2})

        def all_done() -> bool:
            with reading(context.sessions) as session:
                return set(session.scalars(select(Unit.state))) == {UnitState.DONE}

        wait_until(all_done, LONG_S, "everything is done")
        with reading(context.sessions) as session:
            rows = counted(session)
            lost = session.get_one(Unit, number).lost
        assert len(rows) == 21
        assert set(rows.values()) == {1}
        assert lost == 1


def results(context: Context) -> list[dict[str, Any]]:
    """What the units that are done have told."""
    with reading(context.sessions) as session:
        query = select(Unit.result).where(Unit.state == UnitState.DONE)
        return [one or {} for one in session.scalars(query)]


@pytest.mark.whole
@pytest.mark.timeout(1500)
def test_a_database_that_crashes_and_a_store_that_refuses_cost_hosts_no_unit(
    tmp_path: Path,
) -> None:
    """Both hosts work on by themselves; what each has done is done once and lies in the store."""
    require_namespaces()
    light_stage.register_stages()
    wanted = 12  # each try that the store refuses takes its worker for as long as it is patient
    with ExitStack() as stack:
        server = stack.enter_context(contextmanager(run_postgres)())
        seaweed = stack.enter_context(contextmanager(run_seaweed)(tmp_path / "weed"))
        url = migrated(server.create_database("hosts"))
        one, two = (stack.enter_context(host(number)) for number in (1, 2))
        broker = stack.enter_context(redis_on(tmp_path, one.here, two.here))
        storage = seaweed.settings(patience_s=2.0)  # the refusal is to last longer than that
        s3_port = int(storage["endpoint"].rpartition(":")[2])
        for each in (one, two):
            for port in (server.port, s3_port):
                stack.callback(carry(each.here, port).close)
        context = make_context(
            tmp_path / "main",
            url,
            broker_url=f"redis://127.0.0.1:{broker}/0",
            workers={**QUICK_WORKERS, "lease_s": 10.0},
            storage=storage,
        )
        stack.callback(context.engine.dispose)
        stack.enter_context(supervisor_of(context, {"default": ("default",)})).wait_ready()
        for number, each in enumerate((one, two)):
            stack.enter_context(worker_on(each, tmp_path / f"host{number}", context))

        def ask(first: int, count: int) -> None:
            with context.sessions.begin() as session:
                for number in range(first, first + count):
                    payload = {"seconds": 0.2, "store": True}
                    units.enqueue(session, "light", f"light:{number}", payload)

        def both_work() -> bool:
            return len({told["pid"] for told in results(context)}) == 2

        ask(0, wanted)
        wait_until(both_work, LONG_S, "both hosts work")
        server.stop()
        server.run()
        after = len(results(context))
        ask(wanted, wanted)
        wait_until(lambda: len(results(context)) > after, LONG_S, "they work on the new server")

        seaweed.kill()
        away_until = time.monotonic() + AWAY_S

        def refused() -> bool:
            with reading(context.sessions) as session:
                return bool(session.scalars(select(Unit.id).where(Unit.error_code != "")).first())

        ask(2 * wanted, wanted)
        wait_until(refused, LONG_S, "a unit was refused by the store")
        time.sleep(max(0.0, away_until - time.monotonic()))
        seaweed.start()
        # Waits between tries double: a store that takes long to start is followed by long ones.
        all_done = 2 * LONG_S
        wait_until(lambda: len(results(context)) == 3 * wanted, all_done, "everything is done")
        with reading(context.sessions) as session:
            rows = counted(session)
            ids = [str(number) for number in session.scalars(select(Unit.id))]
        objects = store_of(context)
        stored = [objects.get(light_stage.object_of(int(number))).decode() for number in ids]
    assert stored == ids
    assert len(rows) == 3 * wanted
    assert set(rows.values()) == {1}
