"""A rolling upgrade: workers of the version before and of this one share a database and a broker.

The version before is this repository's code as it stood when the newest migration was not there
yet. It begins, the database is brought to the newest schema under its hands, and both go on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, func, inspect, select

from benchmarks.common import light_stage
from benchmarks.common.databases import Postgres
from benchmarks.common.processes import LIGHT, ROOT, stop
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services import units
from services.context import Context
from services.db import migrate
from services.db.engine import reading
from services.db.tables import Audit, Unit, UnitState
from services.units.batches import enqueue_all
from services.upkeep import invariants
from services.worker import redis_server
from services.worker.environment import environment_of

WAIT_S = 120
ASK = """
from services import context, units
from benchmarks.common import light_stage
wired = context.build()
for number in range({first}, {last}):
    with wired.sessions.begin() as session:
        units.enqueue(session, "light", f"light:{{number}}", {{"seconds": 0.05}})
"""


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NO ROLLING UPGRADE IS TESTED: it takes the repository's history ({error})")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before, in a folder of its own."""
    newest = migrate._revisions()[-1].relative_to(ROOT)
    added = _git("log", "--diff-filter=A", "--format=%H", "--", str(newest)).decode().split()
    if not added:
        pytest.skip("NO ROLLING UPGRADE IS TESTED: the newest migration is in no commit yet")
    folder = tmp_path_factory.mktemp("before")
    archive = _git("archive", f"{added[-1]}^", "services", "curation", "retrain", "benchmarks")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    assert not (folder / newest).exists()
    return folder


@dataclass
class Site:
    """One project: what its processes are told, and those that run."""

    context: Context
    variables: dict[str, str]
    stack: ExitStack

    def run(self, code: Path, *arguments: str) -> None:
        """A command of a version, to its end."""
        subprocess.run([sys.executable, *arguments], cwd=code, env=self._of(code), check=True)

    def start(self, code: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """A process of a version, until the test ends."""
        process = subprocess.Popen([sys.executable, *arguments], cwd=code, env=self._of(code))
        self.stack.callback(stop, process)
        return process

    def _of(self, code: Path) -> dict[str, str]:
        return {**self.variables, "PYTHONPATH": str(code)}

    def done(self) -> int:
        with reading(self.context.sessions) as session:
            query = select(func.count()).where(Unit.state == UnitState.DONE)
            return session.scalar(query) or 0

    def done_by(self, worker: subprocess.Popen[bytes]) -> int:
        """How many units the children of a worker have done."""
        own = {child.pid for child in psutil.Process(worker.pid).children(recursive=True)}
        with reading(self.context.sessions) as session:
            results = session.scalars(select(Unit.result).where(Unit.state == UnitState.DONE))
            return sum(result is not None and result["pid"] in own for result in results)


@contextmanager
def site(folder: Path, url: str) -> Iterator[Site]:
    """An empty database, a broker, and nothing that works."""
    with ExitStack() as stack:
        context = make_context(folder / "project", url, workers=QUICK_WORKERS)
        stack.callback(context.engine.dispose)
        broker = subprocess.Popen(redis_server.command(context.project), stdout=subprocess.DEVNULL)
        stack.callback(stop, broker)
        redis_server.wait_ready(redis_server.broker_url(context.settings, context.project))
        variables = {
            **os.environ,
            **environment_of(context.settings),
            "E2X_EXTRA_STAGES": LIGHT,
            "OMP_NUM_THREADS": "1",
        }
        yield Site(context, variables, stack)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/e2x.db"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    yield postgres.create_database("e2x_rolling")
    postgres.drop_database("e2x_rolling")


def _tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_workers_of_two_versions_share_the_work_and_lose_none(
    before: Path, empty_url: str, tmp_path: Path
) -> None:
    light_stage.register_stages()
    program = ("-m", "services.worker")
    with site(tmp_path, empty_url) as own:
        own.run(before, "-m", "services.db.migrate", "upgrade")
        known = _tables(own.context.engine)
        own.run(before, "-c", ASK.format(first=0, last=20))
        relay = own.start(before, *program, "relay")
        own.start(before, *program, "beat")
        queues = "--queues=explain,default"
        old = own.start(before, *program, "worker", queues, "--name=old")
        wait_until(lambda: own.done() >= 5, WAIT_S, "the version before works")

        own.run(ROOT, "-m", "services.db.migrate", "upgrade")
        assert _tables(own.context.engine) > known
        own.start(ROOT, *program, "relay")
        new = own.start(ROOT, *program, "worker", queues, "--name=new")
        own.run(before, "-c", ASK.format(first=20, last=60))
        wanted = {f"light:{number}": {"seconds": 0.05} for number in range(60, 160)}
        with own.context.sessions.begin() as session:
            assert enqueue_all(session, "light", wanted) == 100
        wait_until(lambda: own.done_by(new) >= 10, WAIT_S, "this version works")
        before_it_goes = own.done_by(old)
        wait_until(lambda: own.done_by(old) >= before_it_goes + 3, WAIT_S, "and so does the other")
        stop(old)
        stop(relay)
        with own.context.sessions.begin() as session:
            units.enqueue(session, "light", "light:160", {"seconds": 0.05})
        wait_until(lambda: own.done() == 161, WAIT_S, "all is done")

        with reading(own.context.sessions) as session:
            written = session.scalars(select(Audit.subject).where(Audit.action == "light"))
            assert set(Counter(written).values()) == {1}
        assert invariants.check(own.context) == []
        logs = own.context.project.logs
        assert not any("TypeError" in file.read_text() for file in logs.glob("*.log"))
