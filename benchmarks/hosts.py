"""Two hosts against one: the same explanations by one worker of one core, and by two.

    python -m benchmarks.hosts --frames 40 --rounds 3

A host is ``e2x worker --queues explain`` with settings alone, bound to one core. The database
(PostgreSQL) and the store (SeaweedFS) are on this machine too, and take their share of its cores:
the figure is a lower bound, and on a machine that does other work besides it says nothing; the load
before is part of the result. Writes ``benchmarks/results/hosts.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import func, select

from benchmarks.common import bars, field_project
from benchmarks.common.buckets import Seaweed
from benchmarks.common.databases import run_postgres
from benchmarks.common.machine import machine, versions
from benchmarks.common.processes import stop
from benchmarks.common.waiting import wait_until
from curation.kernel import files
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import TERMINAL, Unit, UnitState
from services.intake.frames import ingest_frame
from services.units.resident import Resident
from services.worker import redis_server, shell
from services.worker.environment import environment_of
from services.worker.supervisor import Supervisor

OUT = Path(__file__).parent / "results" / "hosts.json"
ROOT = Path(__file__).parents[1]
TIMES = 1.8
WAIT_S = 1800.0
WARM = 3
"""Explanations of each host before any count: the first loads the network."""
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "detector": {"input_height_px": 96, "input_width_px": 128, "min_scale": 0.15},
    "explanation": {"num_samples": 128, "num_segments": 60},
    "workers": {"threads": 1},
}
Figures = dict[str, Any]


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=40, help="with a failure each, a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two hosts of a core each need two cores")
    load = os.getloadavg()[0]
    rounds = measure(given.frames, given.rounds, cores)
    ratios = [one["two"] / one["one"] for one in rounds]
    document = {
        "command": " ".join(["python -m benchmarks.hosts", *sys.argv[1:]]),
        "load_before": load,
        "explanations_a_second": rounds,
        "bars": {"two_to_one": bars.entry(median(ratios), min(ratios), max(ratios), bound=TIMES)},
        "machine": machine(),
        "versions": versions(),
    }
    files.write_json(given.out, document)
    print(json.dumps(document, indent=1))


def measure(frames: int, rounds: int, cores: Sequence[int]) -> list[Figures]:
    """Explanations a second by one host and by two, in turns."""
    found: list[Figures] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bucket = Seaweed(folder / "seaweed")
        bucket.start()
        for server in run_postgres():
            url, place = server.create_database("hosts"), bucket.settings()
            context = field_project.make(folder / "project", url, storage=place, **SETTINGS)
            with Supervisor(context, {"default": ("default",)}, False) as up:
                up.wait_ready()
                number = 0
                for _ in range(rounds):
                    rates: Figures = {}
                    for who, used in (("one", cores[:1]), ("two", cores[:2])):
                        explain = ask(context, range(number, number + frames))
                        rates[who] = rate(context, folder, used, explain)
                        number += frames
                    found.append(rates)
                    print(rates, flush=True)
            context.engine.dispose()
        bucket.kill()
    return found


def ask(context: Context, numbers: range) -> list[int]:
    """Take in frames and look at them here; the explanations wait. Their units."""
    for number in numbers:
        picture, truth = field_project.frame(number), field_project.objects(number)
        ingest_frame(context, picture, f"{number}.png", objects=truth)
    resident = Resident()
    with reading(context.sessions) as session:
        query = select(Unit.id).where(Unit.kind == "scan", Unit.state == UnitState.QUEUED)
        scans = session.scalars(query.order_by(Unit.id)).all()
    for unit_id in scans:
        if shell.run(context, resident, unit_id, "benchmark") != "done":
            raise RuntimeError(f"unit {unit_id} is not done")
    with reading(context.sessions) as session:
        query = select(Unit.id).where(Unit.kind == "explain", Unit.state == UnitState.QUEUED)
        return list(session.scalars(query))


def rate(context: Context, folder: Path, cores: Sequence[int], unit_ids: Sequence[int]) -> float:
    """Explanations a second of hosts of one core each, once each of them is warm.

    Raises:
        RuntimeError: a host did so few that it was never warm: ask for more.
    """
    began = utc_now()
    with ExitStack() as hosts:
        for core in cores:
            hosts.enter_context(host(context, folder, core))
        wait_until(lambda: left(context, unit_ids) == 0, WAIT_S, "the explanations")
    by_host = [ends(folder / f"host-{core}", began) for core in cores]
    if min(len(one) for one in by_host) <= WARM:
        raise RuntimeError(f"a host did {[len(one) for one in by_host]} explanations: ask for more")
    warm = max(one[WARM - 1] for one in by_host)
    after = sorted(at for one in by_host for at in one if at > warm)
    return len(after) / (after[-1] - warm).total_seconds()


def ends(root: Path, began: datetime) -> list[datetime]:
    """When a host has ended its units since a moment, as its log says."""
    found = []
    for line in (root / "logs" / f"{root.name}.log").read_text(encoding="utf-8").splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        if said.get("message") == "unit done":
            found.append(datetime.fromisoformat(said["at"]))
    return sorted(at for at in found if at > began)


@contextmanager
def host(context: Context, folder: Path, core: int) -> Iterator[None]:
    """A worker of one core, with an empty folder and variables alone."""
    variables = {
        **os.environ,
        **environment_of(context.settings),
        "E2X_BROKER_URL": redis_server.broker_url(context.settings, context.project),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "services.cli", "--project", str(folder / f"host-{core}")]
    process = subprocess.Popen(
        [
            "taskset",
            "--cpu-list",
            str(core),
            *command,
            "worker",
            "--queues=explain",
            f"--name=host-{core}",
        ],
        cwd=folder,
        env=variables,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        stop(process)


def left(context: Context, unit_ids: Sequence[int]) -> int:
    """Of some units those that have not ended."""
    with reading(context.sessions) as session:
        query = select(func.count()).where(Unit.id.in_(unit_ids), Unit.state.not_in(TERMINAL))
        return session.scalar(query) or 0


if __name__ == "__main__":
    main()
