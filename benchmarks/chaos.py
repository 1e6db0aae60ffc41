"""Delivery under fire: units through real workers while whatever they need is killed or cut off.

    python -m benchmarks.chaos --units 100000 --database sqlite|postgresql [--store]

At random: a busy pool process, a worker, the relay, the scheduler and Redis are killed; a busy pool
process and Redis stand still for longer than a lease. ``postgresql`` starts a temporary cluster of
its own, which crashes and stands still too; SQLite's file is held locked instead. With ``--store``
every so many units put an object into an S3 server, which is killed and stands still as well.

Prints a table and writes ``benchmarks/results/chaos-DATABASE.json``; ``lost``, ``dead``, ``twice``
and ``objects_missing`` must be 0, else the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.common import bars, light_stage
from benchmarks.common.buckets import Seaweed
from benchmarks.common.databases import Postgres, run_postgres
from benchmarks.common.kills import CUT_S, Chaos, stand_still
from benchmarks.common.processes import supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from services import units
from services.context import Context
from services.db import migrate
from services.db.engine import reading
from services.db.tables import Audit, Unit
from services.store.project_store import store_of
from services.units import threads
from services.units.batches import enqueue_all

RESULTS = Path(__file__).parent / "results"
STILL_S = 600.0
"""Units that have not ended are lost when none has ended for so long."""
BATCH, AHEAD = 1000, 4000
"""Units asked for in one transaction, and how many may wait before more are."""
LONG_EVERY, LONG_S = 100, 0.2
"""Every so many units take longer, so that kills meet units at work."""
STORE_EVERY = 20
"""Every so many units put an object, where there is a store."""
PROCESSES = ("child", "child", "cut child", "worker-e0", "redis", "cut redis", "relay", "beat")
SETTLED_S = 30.0
"""Each kill meets processes that work; else a slow machine would only ever start them."""
Figures = dict[str, Any]
Actions = Mapping[str, Callable[[], object]]
MUST_BE_0 = ("lost", "dead", "twice", "objects_missing")


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--pause", type=float, default=2.0, help="longest wait between kills, s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=55.0, help="ask for units so long at most")
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgresql"])
    parser.add_argument("--store", action="store_true", help="with an S3 server")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    often = {**QUICK_WORKERS, "max_lost": light_stage.MAX_ATTEMPTS}
    with (
        tempfile.TemporaryDirectory() as name,
        database(given.database, Path(name)) as (url, held),
        store(given.store, Path(name)) as (place, store_actions),
    ):
        told = {"workers": often} | ({"storage": place} if place else {})
        context = make_context(Path(name) / "project", url, **told)
        migrate.upgrade(context.engine)
        actions = {**held, **store_actions}
        if not held:
            actions["locked database"] = lambda: lock(context)
        figures = measure(
            context,
            given.units,
            given.workers,
            given.pause,
            given.seed,
            actions,
            bool(place),
            60.0 * given.minutes,
        )
        context.engine.dispose()
    show(figures)
    RESULTS.mkdir(exist_ok=True)
    bad = sum(figures[name] for name in MUST_BE_0)
    figures["command"] = " ".join(["python -m benchmarks.chaos", *sys.argv[1:]])
    figures["load_before"] = round(load, 2)
    figures["bars"] = {
        "units": bars.entry(figures["units"], bound=100_000),
        "bad": bars.entry(bad, bound=0, sense="<="),
    }
    file = RESULTS / f"chaos-{figures['database']}.json"
    file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if bad:
        raise SystemExit(1)


@contextmanager
def database(wish: str, folder: Path) -> Iterator[tuple[str, Actions]]:
    """The URL of an empty database, and what may happen to its server, within a block."""
    if wish == "sqlite":
        yield f"sqlite:///{folder}/e2x.db", {}
        return
    for server in run_postgres():
        yield (
            server.create_database("chaos"),
            {
                "database": partial(crash, server),
                "cut database": partial(pause, server),
            },
        )


def crash(server: Postgres) -> None:
    """End a server without a checkpoint, and start it again."""
    server.stop()
    server.run()


def pause(server: Postgres) -> None:
    """Let a server accept connections and answer nothing, for a while."""
    stand_still(server.pids())


def lock(context: Context) -> None:
    """Let nobody else write for a while."""
    with context.sessions.begin() as session:
        session.execute(text("SELECT 1"))
        time.sleep(CUT_S)


@contextmanager
def store(wanted: bool, folder: Path) -> Iterator[tuple[dict[str, Any], Actions]]:
    """Settings of a store, if one is wanted, and what may happen to it, within a block."""
    if not wanted:
        yield {}, {}
        return
    server = Seaweed(folder / "seaweed")
    server.start()

    def kill() -> None:
        server.kill()
        server.start()

    def cut() -> None:
        server.pause()
        time.sleep(CUT_S)
        server.resume()

    try:
        yield server.settings(patience_s=2.0), {"store": kill, "cut store": cut}
    finally:
        server.kill()


def measure(
    context: Context,
    number: int,
    workers: int,
    pause_s: float,
    seed: int,
    actions: Actions,
    stored: bool,
    asking_s: float,
) -> Figures:
    """Have so many units done while the processes are killed.

    Args:
        context: wiring of the project.
        number: of units.
        workers: worker processes.
        pause_s: longest wait between two kills.
        seed: of what is killed when.
        actions: what else may happen.
        stored: whether there is a store.
        asking_s: nothing more is asked for after so long.
    """
    light_stage.register_stages()
    groups = {f"e{i}": ("explain",) for i in range(workers)} | {"default": ("default",)}
    asked = left = ended = 0
    with supervisor_of(context, groups) as up:
        up.wait_ready()
        started = moved = time.monotonic()
        targets = (*PROCESSES, *actions)
        with (
            Chaos(up, context, seed, pause_s, targets, SETTLED_S, actions) as chaos,
            Progress() as progress,
        ):
            bar = progress.add_task("units", total=number)
            while left or asked < number:
                late = time.monotonic() - started > asking_s
                if late and asked and not left:
                    break
                if asked < number and left < AHEAD and not late:
                    asked = ask(context, asked, min(number, asked + BATCH), stored)
                else:
                    time.sleep(0.2)
                left = waiting(context, left)
                progress.update(bar, completed=asked - left)
                if asked - left != ended:
                    ended, moved = asked - left, time.monotonic()
                if time.monotonic() - moved > STILL_S:
                    break
            seconds = time.monotonic() - started
    number = asked
    return outcome(context, number, stored) | {
        "units": number,
        "seconds": round(seconds, 1),
        "units_per_second": round(number / seconds, 1),
        "kills": dict(sorted(chaos.kills.items())),
        "workers": workers,
        "database": context.engine.dialect.name,
        "store": "SeaweedFS" if stored else "folder",
        "seed": seed,
        "cores": threads.cores(),
        "python": platform.python_version(),
    }


def ask(context: Context, start: int, end: int, stored: bool) -> int:
    """Ask for units, again where the database failed; how many were asked for in all."""
    try:
        with context.sessions.begin() as session:
            wanted = {f"l:{i}": payload(i, stored) for i in range(start, end)}
            enqueue_all(session, "light", wanted)
    except SQLAlchemyError:  # it may have been committed: the same keys are the same units
        return start
    return end


def payload(number: int, stored: bool) -> dict[str, Any]:
    """What a unit does besides its row."""
    told: dict[str, Any] = {}
    if number % LONG_EVERY == 0:
        told["seconds"] = LONG_S
    if stored and number % STORE_EVERY == 0:
        told["store"] = True
    return told


def waiting(context: Context, before: int) -> int:
    """Units that have not ended; as many as before while the database does not answer."""
    try:
        with reading(context.sessions) as session:
            found = units.counts(session)
    except SQLAlchemyError:
        return before
    return found["queued"] + found["leased"]


def outcome(context: Context, number: int, stored: bool) -> Figures:
    """What became of the units, counted in rows and objects."""
    with reading(context.sessions) as session:
        found = units.counts(session)
        query = select(Audit.subject, func.count()).group_by(Audit.subject)
        written = [row[1] for row in session.execute(query)]
        again = session.scalar(select(func.count()).where(Unit.lost > 0))
        keys = {row.key: row.id for row in session.execute(select(Unit.key, Unit.id))}
    objects = store_of(context)
    put = [keys[f"l:{i}"] for i in range(0, number, STORE_EVERY)] if stored else []
    missing = sum(not objects.exists(light_stage.object_of(unit_id)) for unit_id in put)
    return {
        "done": found["done"],
        "dead": found["dead"],
        "lost": number - found["done"] - found["dead"],
        "twice": sum(times > 1 for times in written),
        "objects_missing": missing,
        "tried_again": again,
    }


def show(figures: Figures) -> None:
    """Print all figures."""
    table = Table(title="Delivery while processes are killed")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
