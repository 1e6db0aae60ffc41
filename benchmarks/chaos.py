"""Delivery under fire: units through real workers while processes are killed at random.

    python -m benchmarks.chaos --units 10000 --database sqlite|postgresql|URL

``postgresql`` starts a temporary cluster of its own. Prints a table and writes
``benchmarks/results/chaos-DATABASE.json``; ``lost``, ``dead`` and ``twice`` must be 0, else the
exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import func, select

from benchmarks.common import light_stage
from benchmarks.common.databases import run_postgres
from benchmarks.common.kills import Chaos
from benchmarks.common.processes import supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from services import units
from services.context import Context
from services.db import migrate
from services.db.engine import reading
from services.db.tables import Audit, Unit
from services.units import threads

RESULTS = Path(__file__).parent / "results"
DEADLINE_S = 3600.0
BATCH = 500
"""Units enqueued in one transaction: workers begin with the first while the last are written."""
LONG_EVERY, LONG_S = 50, 0.2
"""Every so many units take longer, so that kills meet units at work."""
SETTLED_S = 30.0
"""Each kill meets processes that work; else a slow machine would only ever start them."""
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--pause", type=float, default=2.0, help="longest wait between kills, s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql or a URL")
    given = parser.parse_args()
    often = {**QUICK_WORKERS, "max_lost": light_stage.MAX_ATTEMPTS}
    with tempfile.TemporaryDirectory() as folder, database(given.database, Path(folder)) as url:
        context = make_context(Path(folder) / "project", url, workers=often)
        migrate.upgrade(context.engine)
        figures = measure(context, given.units, given.workers, given.pause, given.seed)
        context.engine.dispose()
    show(figures)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"chaos-{figures['database']}.json"
    file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if figures["lost"] or figures["dead"] or figures["twice"]:
        raise SystemExit(1)


@contextmanager
def database(wish: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database for the length of a block."""
    if wish == "sqlite":
        yield f"sqlite:///{folder}/e2x.db"
    elif wish == "postgresql":
        for server in run_postgres():
            yield server.create_database("chaos")
    else:
        yield wish


def measure(context: Context, number: int, workers: int, pause_s: float, seed: int) -> Figures:
    light_stage.register_stages()
    groups = {f"e{i}": ("explain",) for i in range(workers)} | {"default": ("default",)}
    with supervisor_of(context, groups) as up:
        up.wait_ready()
        started = time.monotonic()
        for start in range(0, number, BATCH):
            with context.sessions.begin() as session:
                for i in range(start, min(number, start + BATCH)):
                    seconds = LONG_S if i % LONG_EVERY == 0 else 0.0
                    units.enqueue(session, "light", f"l:{i}", {"seconds": seconds})
        targets = ("child", "child", "worker-e0", "redis", "relay", "beat")
        with Chaos(up, context, seed, pause_s, targets, SETTLED_S) as chaos, Progress() as progress:
            bar = progress.add_task("units", total=number)
            while True:
                ended = number - waiting(context)
                progress.update(bar, completed=ended)
                if ended == number or time.monotonic() - started > DEADLINE_S:
                    break
                time.sleep(0.5)
        seconds = time.monotonic() - started
    return outcome(context, number) | {
        "units": number,
        "seconds": round(seconds, 1),
        "units_per_second": round(number / seconds, 1),
        "kills": dict(chaos.kills),
        "workers": workers,
        "database": context.engine.dialect.name,
        "seed": seed,
        "cores": threads.cores(),
        "python": platform.python_version(),
    }


def waiting(context: Context) -> int:
    with reading(context.sessions) as session:
        found = units.counts(session)
    return found["queued"] + found["leased"]


def outcome(context: Context, number: int) -> Figures:
    with reading(context.sessions) as session:
        found = units.counts(session)
        query = select(Audit.subject, func.count()).group_by(Audit.subject)
        written = [row[1] for row in session.execute(query)]
        again = session.scalar(select(func.count()).where(Unit.lost > 0))
    return {
        "done": found["done"],
        "dead": found["dead"],
        "lost": number - found["done"] - found["dead"],
        "twice": sum(times > 1 for times in written),
        "tried_again": again,
    }


def show(figures: Figures) -> None:
    table = Table(title="Delivery while processes are killed")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
