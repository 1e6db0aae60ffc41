"""Imports: images a second, what one costs in a project that grows, and what a kill does to one.

Each size is one more import into the same project of distinct 640 x 480 JPEG files, so that a cost
that grows with what is there already would show in the later ones.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import event, func, select

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import wait_until
from benchmarks.scale.pictures import write_pictures
from curation.kernel.files import writer_of
from services.context import Context
from services.db import migrate
from services.db.tables import Image, Role, Unit
from services.intake.imports import import_dataset

SMALL_WH = (64, 48)
KILLS = 3
PROGRAM = """
import sys
from pathlib import Path
from benchmarks.common.projects import make_context
from services.db.tables import Role
from services.intake.imports import import_dataset

project, url, folder = sys.argv[1:]
import_dataset(make_context(Path(project), url), Path(folder), Role.POOL)
"""


def speeds(sizes: list[int]) -> list[dict[str, Any]]:
    """One import after the other into one project."""
    rng, steps = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = _project(root)
        for step, size in enumerate(sizes):
            write_pictures(root / f"pool{step}", size, rng)
            steps.append(measure(context, root / f"pool{step}"))
            print(steps[-1], flush=True)
        context.engine.dispose()
    return steps


def measure(context: Context, folder: Path) -> dict[str, Any]:
    """Import a folder as pool images: what that took, and what importing it again did."""
    queries = 0

    def count(*_: object) -> None:
        nonlocal queries
        queries += 1

    event.listen(context.engine, "before_cursor_execute", count)
    wall, processor = time.perf_counter(), time.process_time()
    report = import_dataset(context, folder, Role.POOL)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    event.remove(context.engine, "before_cursor_execute", count)
    again = import_dataset(context, folder, Role.POOL)
    return {
        "images": report.images_added,
        "images_a_second_of_a_core": report.images_added / processor,
        "images_a_second_of_the_clock": report.images_added / wall,
        "queries_an_image": queries / report.images_added,
        "added_when_imported_again": again.images_added,
    }


def resume(count: int, seed: int = 0) -> dict[str, Any]:
    """Import small pictures in a process that is killed at random moments, then once more.

    Returns:
        What was there after each kill, and whether something was lost or doubled in the end.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = _project(root)
        write_pictures(root / "pool", count, np.random.default_rng(seed), SMALL_WH)
        moments = sorted(draw.sample(range(count // 20, count), KILLS))
        there = []
        for moment in moments:
            _killed_at(context, root / "pool", moment)
            there.append(_rows(context))
            print(f"killed with {there[-1]} of {count} images stored", flush=True)
        began = time.process_time()
        report = import_dataset(context, root / "pool", Role.POOL)
        outcome = {
            "images": count,
            "rows_after_each_kill": there,
            "added_by_the_last_import": report.images_added,
            "known_to_the_last_import": report.images_known,
            "problems": len(report.problems),
            "processor_s_of_the_last_import": time.process_time() - began,
            **_compared(context),
        }
        context.engine.dispose()
    print(outcome, flush=True)
    return outcome


def is_whole(outcome: dict[str, Any]) -> bool:
    """Whether an import that was killed lost nothing and doubled nothing."""
    count = outcome["images"]
    return (
        outcome["rows"] == outcome["files"] == outcome["images_to_embed"] == count
        and outcome["rows_after_each_kill"] == sorted(outcome["rows_after_each_kill"])
        and outcome["known_to_the_last_import"] == outcome["rows_after_each_kill"][-1]
        and not outcome["rows_without_file"]
        and not outcome["files_without_row"]
        and not outcome["embedded_twice"]
        and not outcome["problems"]
    )


def _project(root: Path) -> Context:
    context = make_context(root / "project", f"sqlite:///{root / 'scale.db'}")
    migrate.upgrade(context.engine)
    return context


def _rows(context: Context) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(Image)) or 0


def _killed_at(context: Context, folder: Path, images: int) -> None:
    """Import in a process of its own, which is killed once so many images are there."""
    arguments = [str(context.project.root), str(context.engine.url), str(folder)]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])
    try:
        wait_until(lambda: _rows(context) >= images, 7200, f"{images} images are stored")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def _compared(context: Context) -> dict[str, Any]:
    """Rows beside files beside what was asked to be embedded."""
    with context.sessions() as session:
        rows = {row.file: row.id for row in session.execute(select(Image.file, Image.id))}
        payloads = session.scalars(select(Unit.payload).where(Unit.kind == "embed"))
        asked = [image for payload in payloads for image in payload["images"]]
    root = context.project.images
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and writer_of(path.name) is None  # what was begun is swept by its name
    }
    return {
        "rows": len(rows),
        "files": len(found),
        "rows_without_file": len(rows.keys() - found),
        "files_without_row": len(found - rows.keys()),
        "images_to_embed": len(set(asked) & set(rows.values())),
        "embedded_twice": len(asked) - len(set(asked)),
    }
