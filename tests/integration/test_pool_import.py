"""A pool import that is killed and run again loses and doubles nothing; each image costs the same.

The import runs in a process of its own, which kills itself with SIGKILL at a given image.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event, func, select

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE
from benchmarks.scale.pictures import write_pictures
from curation.kernel.files import writer_of
from services.context import Context
from services.db import migrate
from services.db.tables import Image, Role, Unit
from services.intake.imports import BATCH, import_dataset

COUNT = 2 * BATCH + 22
SMALL_WH = (64, 48)
PROGRAM = """
import os, signal, sys
from pathlib import Path
from benchmarks.common.projects import make_context
from services.db.tables import Role
from services.intake.imports import import_dataset

project, url, folder, die_at = sys.argv[1:]

def die(done, _all):
    if done == int(die_at):
        os.kill(os.getpid(), signal.SIGKILL)

import_dataset(make_context(Path(project), url), Path(folder), Role.POOL, progress=die)
"""


def _project(root: Path) -> tuple[Context, str]:
    url = f"sqlite:///{root / 'scale.db'}"
    context = make_context(root / "project", url)
    migrate.upgrade(context.engine)
    return context, url


@pytest.mark.parametrize("die_at", [BATCH // 2, BATCH + BATCH // 2])
def test_a_killed_import_run_again_loses_and_doubles_nothing(tmp_path: Path, die_at: int) -> None:
    context, url = _project(tmp_path)
    write_pictures(tmp_path / "pool", COUNT, np.random.default_rng(0), SMALL_WH)
    arguments = [str(tmp_path / "project"), url, str(tmp_path / "pool"), str(die_at)]

    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], timeout=120 * PATIENCE, check=False
    )
    assert killed.returncode == -9
    report = import_dataset(context, tmp_path / "pool", Role.POOL)

    there = die_at // BATCH * BATCH  # whole batches that were committed before
    assert (report.images_added, report.images_known) == (COUNT - there, there)
    assert report.problems == []
    with context.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == COUNT
        asked = [
            image
            for unit in session.scalars(select(Unit).where(Unit.kind == "embed"))
            for image in unit.payload["images"]
        ]
        stored = session.scalars(select(Image.file)).all()
        ids = session.scalars(select(Image.id)).all()
    assert sorted(asked) == sorted(ids)
    found = {path for path in context.project.images.rglob("*") if path.is_file()}
    # What the killed process had begun is nobody's: the sweep knows it by its name.
    kept = {path for path in found if writer_of(path.name) is None}
    assert kept == {context.project.images / file for file in stored}


def test_a_row_names_a_file_only_once_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = _project(tmp_path)
    write_pictures(tmp_path / "pool", BATCH + 2, np.random.default_rng(0), SMALL_WH)
    synced: set[int] = set()
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    seen: list[set[int]] = []  # what must be durable at each statement that writes images

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO images"):
            there = [path for path in context.project.images.rglob("*") if path.is_file()]
            seen.append({path.stat().st_ino for path in there})
            seen[-1] |= {path.parent.stat().st_ino for path in there}
            assert seen[-1] <= synced

    monkeypatch.setattr(os, "fsync", note)
    event.listen(context.engine, "before_cursor_execute", look)
    import_dataset(context, tmp_path / "pool", Role.POOL)

    assert len(seen) >= 2
    assert len(seen[-1]) > BATCH


def test_an_image_costs_as_many_queries_in_a_large_project(tmp_path: Path) -> None:
    context, _ = _project(tmp_path)
    rng = np.random.default_rng(0)
    counts = []
    for step in range(3):
        write_pictures(tmp_path / f"pool{step}", BATCH, rng, SMALL_WH)
        queries: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            queries.append(statement)  # noqa: B023 - heard in this turn alone

        event.listen(context.engine, "before_cursor_execute", note)
        import_dataset(context, tmp_path / f"pool{step}", Role.POOL)
        event.remove(context.engine, "before_cursor_execute", note)
        counts.append(len(queries))

    assert counts[1] == counts[2]
    assert counts[2] <= BATCH
