"""Backup and restore of a project at work: how long it takes, and whether every invariant holds.

    python -m benchmarks.backup --images 10000

Distinct pictures are imported into the pool; workers embed and index them, and when half of the
units are done ``e2x backup`` copies the project while they go on. The copy is restored as the
command says (``cp -a``) and examined by ``e2x doctor --deep``; with ``--finish`` it is put to work
until all its units are done, and examined again. Writes ``benchmarks/results/backup.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from benchmarks.common import bars, field_project
from benchmarks.common.machine import machine, versions
from benchmarks.common.waiting import wait_until
from benchmarks.scale.pictures import write_pictures
from curation.kernel import files
from services import context as wiring
from services.config.settings import PROJECT_FILE, Settings
from services.context import Context
from services.db.engine import reading
from services.db.tables import TERMINAL, Image, Role, Unit, UnitState
from services.intake.frames import ingest_frame
from services.intake.imports import import_dataset
from services.worker.supervisor import Supervisor

OUT = Path(__file__).parent / "results" / "backup.json"
ROOT = Path(__file__).parents[1]
FRAMES = 40
DONE = 0.5
"""Share of the units that are done when the copy begins: it has results, and work under way."""
WORK_S = 3600.0
WORKERS = {"explain": ("explain",), "embed": ("embed", "index"), "default": ("default",)}
Figures = dict[str, Any]


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("W", "H"))
    parser.add_argument("--copy", action="store_true", help="as of another disk: no links")
    parser.add_argument("--finish", action="store_true", help="have the copy do its units")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    figures = measure(given.images, tuple(given.size), given.copy, given.finish)
    document = {
        "command": " ".join(["python -m benchmarks.backup", *sys.argv[1:]]),
        "load_before": load,
        **figures,
        "bars": judged(given.images, figures),
        "machine": machine(),
        "versions": versions(),
    }
    files.write_json(given.out, document)
    print(json.dumps(document, indent=1))


def judged(images: int, figures: Figures) -> Figures:
    """The bars."""
    holds = not figures["broken_restored"] and not figures.get("broken_worked_on", 0)
    return {
        "images": bars.entry(images, bound=10_000),
        "holds": bars.entry(float(holds), bound=1.0),
        "seconds": bars.entry(
            figures["backup_s"] + figures["restore_s"] + figures["doctor_s"],
            bound=3600.0,
            sense="<=",
        ),
    }


def measure(images: int, size_wh: tuple[int, int], copy: bool, work_on: bool) -> Figures:
    """Make a project, back it up while it works, restore it, examine it and put it to work."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = make(folder, images, size_wh)
        found: Figures = {"images": images}
        with Supervisor(context, WORKERS, False) as up:
            up.wait_ready()
            wait_until(lambda: share_done(context) >= DONE, WORK_S, "units are done")
            found["share_done_at_start"] = share_done(context)
            command = ["backup", str(folder / "backup"), *(["--copy"] if copy else [])]
            found["backup_s"] = timed(e2x(folder / "project", *command))
            found["share_done_at_end"] = share_done(context)
        context.engine.dispose()
        restored = folder / "restored"
        found["restore_s"] = timed(["cp", "-a", str(folder / "backup"), str(restored)])
        found["restored_mib"] = (
            sum(one.stat().st_size for one in restored.rglob("*") if one.is_file()) / 2**20
        )
        found |= examined(restored, "restored", "doctor_s")
        if work_on:
            found["units_in_the_copy"] = finish(restored)
            found |= examined(restored, "worked_on", "doctor_again_s")
    return found


def make(folder: Path, images: int, size_wh: tuple[int, int]) -> Context:
    """A project with a champion, a pool and field frames, none of which was looked at yet."""
    root = folder / "project"
    root.mkdir(parents=True)
    (root / PROJECT_FILE).write_text(field_project.SETTINGS)
    context = field_project.fill(wiring.build(Settings(project=root)))
    print("pictures are written and imported", flush=True)
    write_pictures(folder / "pool", images, np.random.default_rng(0), size_wh)
    import_dataset(context, folder / "pool", Role.POOL)
    for number in range(FRAMES):
        ingest_frame(
            context,
            field_project.frame(number),
            f"{number}.png",
            objects=field_project.objects(number),
        )
    with reading(context.sessions) as session:
        there = session.scalar(select(func.count()).where(Image.role == Role.POOL))
    if there != images:
        raise RuntimeError(f"{there} of {images} pictures were imported")
    return context


def share_done(context: Context) -> float:
    """Units that are done, of all that there are by now."""
    with reading(context.sessions) as session:
        done = session.scalar(select(func.count()).where(Unit.state == UnitState.DONE)) or 0
        every = session.scalar(select(func.count()).select_from(Unit)) or 1
    return done / every


def e2x(root: Path, *words: str) -> list[str]:
    """The command line in a project."""
    return [sys.executable, "-m", "services.cli", "--project", str(root), *words]


def timed(command: list[str]) -> float:
    """Seconds that a command takes; one that fails ends this program."""
    began = time.monotonic()
    subprocess.run(command, check=True, env=_environment())
    return time.monotonic() - began


def examined(root: Path, name: str, seconds: str) -> Figures:
    """What ``e2x doctor --deep`` finds in a project, and how long it looks."""
    began = time.monotonic()
    done = subprocess.run(
        e2x(root, "doctor", "--deep", "--json"), stdout=subprocess.PIPE, env=_environment()
    )
    took_s = time.monotonic() - began
    odd = [one for one in json.loads(done.stdout) if one["state"] != "ok"]
    for finding in odd:
        print(finding, flush=True)
    broken = sum(finding["state"] == "fail" for finding in odd)
    return {
        f"broken_{name}": broken,
        f"warnings_{name}": [one["found"] for one in odd if one["state"] == "warn"],
        seconds: took_s,
    }


def finish(root: Path) -> int:
    """Put a project to work until all its units have ended; how many there are."""
    context = wiring.build(Settings(project=root))

    def left() -> int:
        with reading(context.sessions) as session:
            return session.scalar(select(func.count()).where(Unit.state.not_in(TERMINAL))) or 0

    with Supervisor(context, WORKERS, False) as up:
        up.wait_ready()
        wait_until(lambda: left() == 0, WORK_S, "the copy does its units")
    with reading(context.sessions) as session:
        number = session.scalar(select(func.count()).where(Unit.state == UnitState.DONE)) or 0
        every = session.scalar(select(func.count()).select_from(Unit)) or 0
    context.engine.dispose()
    if number != every:
        raise RuntimeError(f"{every - number} of {every} units of the copy are not done")
    return number


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    main()
