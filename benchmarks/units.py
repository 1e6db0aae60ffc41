"""Units a second: two workers, a relay and a broker do units of a stage that does nothing.

    python -m benchmarks.units [--units 3000] [--rounds 3] [--beside FOLDER]
        [--databases sqlite postgresql]

``--beside`` names a checkout of an older state of this repository: its processes are measured in
the same run, by turns, so that whatever else the machine does meets both. Processor time is that of
all processes together, the server of PostgreSQL too. Writes ``benchmarks/results/units.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "units.json"
STAGE = "empty_stage"
WORKERS = {"e0": ("explain",), "e1": ("explain",)}
WARM = 100
"""Units before the measurement: each worker has loaded what it needs by then."""
TIMES = 5.0
ENOUGH = 6
"""Rounds whose least and greatest have the median between them in 97 % of cases."""
DEADLINE_S = 1800.0
Figures = dict[str, Any]


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="a checkout of an older state")
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--child", choices=["sqlite", "postgresql"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.child, given.units)))
        return
    trees = {"now": ROOT} | ({"before": given.beside.resolve()} if given.beside else {})
    rounds: list[Figures] = []
    for number in range(given.rounds):
        for database in given.databases:
            for name, tree in trees.items():
                found = _in_process(tree, database, given.units)
                rounds.append({"round": number, "database": database, "code": name, **found})
                print(json.dumps(rounds[-1]), flush=True)
    _write(given.out, rounds, trees)


def _in_process(tree: Path, database: str, units: int) -> Figures:
    """One measurement with the code of a checkout."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", database]
    done = subprocess.run(
        [*command, "--units", str(units)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(database: str, number: int) -> Figures:
    """Do so many units with the code that this process imports."""
    from benchmarks.common.projects import make_context
    from services.db import migrate
    from services.units import pipeline
    from services.worker.supervisor import Supervisor

    with tempfile.TemporaryDirectory() as name, _database(database, Path(name)) as (url, server):
        folder = Path(name)
        shutil.copy(Path(__file__).parent / "common" / f"{STAGE}.py", folder)
        path = os.pathsep.join((os.environ["PYTHONPATH"], str(folder)))
        sys.path.append(str(folder))
        os.environ[pipeline.EXTRA_STAGES_VARIABLE] = STAGE
        pipeline.load_extra_stages()
        context = make_context(folder / "project", url)
        migrate.upgrade(context.engine)
        environment = {pipeline.EXTRA_STAGES_VARIABLE: STAGE, "PYTHONPATH": path}
        with Supervisor(context, WORKERS, False, environment) as up:
            up.wait_ready()
            _work(context, "warm", WARM)
            before, began = _processor_s([*up.pids.values(), *server]), time.monotonic()
            _work(context, "measured", number)
            wall_s = time.monotonic() - began
            processor_s = _processor_s([*up.pids.values(), *server]) - before
        _require_once(context)
        context.engine.dispose()
    return {
        "units": number,
        "wall_s": wall_s,
        "processor_s": processor_s,
        "units_a_second": number / wall_s,
        "units_a_processor_second": number / processor_s,
    }


@contextmanager
def _database(wish: str, folder: Path) -> Iterator[tuple[str, list[int]]]:
    """The URL of an empty database, and its server's processes, for the length of a block."""
    from benchmarks.common.databases import run_postgres

    if wish == "sqlite":
        yield f"sqlite:///{folder}/e2x.db", []
        return
    for server in run_postgres():
        # Not asked of the server's own object: the one of an older tree does not tell.
        port = str(server.port)
        found = [
            one.pid
            for one in psutil.process_iter(["cmdline"])
            if port in (one.info["cmdline"] or ()) and "postgres" in one.info["cmdline"][0]
        ]
        yield server.create_database("units"), found


def _work(context: Any, name: str, number: int) -> None:
    """Ask for units in one transaction and wait until they are done."""
    from sqlalchemy import func, select

    from services.db.engine import reading
    from services.db.tables import Unit, UnitState
    from services.units.batches import enqueue_all

    with context.sessions.begin() as session:
        enqueue_all(session, "empty", {f"{name}:{i}": {} for i in range(number)})
    waiting = select(func.count()).where(Unit.state.in_((UnitState.QUEUED, UnitState.LEASED)))
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with reading(context.sessions) as session:
            left = session.scalar(waiting)
        if not left:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{left} of {number} units are not done after {DEADLINE_S:g} s")
        time.sleep(0.1)


def _require_once(context: Any) -> None:
    from sqlalchemy import func, select

    from services.db.engine import reading
    from services.db.tables import Unit, UnitState

    with reading(context.sessions) as session:
        odd = session.scalar(
            select(func.count()).where(
                (Unit.state != UnitState.DONE) | (Unit.attempts != 1) | (Unit.lost != 0)
            )
        )
    if odd:
        raise RuntimeError(f"{odd} units were not done at the first try")


def _processor_s(pids: list[int]) -> float:
    """Processor time of processes and of all below them, so far."""
    total, seen = 0.0, set[int]()
    for pid in pids:
        parent = psutil.Process(pid)
        for one in (parent, *parent.children(recursive=True)):
            if one.pid in seen:
                continue
            seen.add(one.pid)
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


def _write(out: Path, rounds: list[Figures], trees: dict[str, Path]) -> None:
    from benchmarks.common import bars
    from benchmarks.common.machine import machine, versions
    from curation.kernel import files

    judged: Figures = {}
    databases = dict.fromkeys(one["database"] for one in rounds)
    for database in databases:
        for figure, bar in (
            ("units_a_second", "units_times_before"),
            ("units_a_processor_second", "units_a_processor_second_times_before"),
        ):
            ratios = _ratios(rounds, database, figure)
            if ratios:
                ends = (min(ratios), max(ratios)) if len(ratios) >= ENOUGH else (None, None)
                judged[f"{bar}_{database}"] = bars.entry(median(ratios), *ends, bound=TIMES)
    document = {
        "command": " ".join(["python -m benchmarks.units", *sys.argv[1:]]),
        "code": {name: _commit(tree) for name, tree in trees.items()},
        "rounds": rounds,
        "bars": judged,
        "machine": machine(),
        "versions": versions(("celery", "kombu", "redis", "sqlalchemy", "pg8000")),
    }
    files.write_json(out, document)
    print(json.dumps(judged, indent=1))


def _ratios(rounds: list[Figures], database: str, figure: str) -> list[float]:
    """Of each round: the code of now over the code of before."""
    by = {(one["code"], one["round"]): one[figure] for one in rounds if one["database"] == database}
    whole = [n for code, n in by if code == "before" and ("now", n) in by]
    return [by["now", n] / by["before", n] for n in whole]


def _commit(tree: Path) -> str:
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
