"""A project with everything that a plan follows from, made once for all who plan with it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from sqlalchemy import select

from benchmarks.common.projects import make_context
from curation.kernel.types import ImageArray
from services import units
from services.context import Context
from services.db.tables import FailureState, Role, Unit, UnitState
from services.units.requests import request_embed
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import add_champion, make_failure
from tests.services.report_project import add_photo
from tests.tiny_ssd import CLASS_NAMES, tiny_ssd

RESIDENT = Resident()
"""Copies have the same networks: each is loaded once for all tests."""


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Context]:
    """A tiny champion, an explained failure on a photograph, six parts of photographs as pool."""
    folder = tmp_path_factory.mktemp("plan")
    database = folder / "e2x.db"
    database.write_bytes(sqlite_template.read_bytes())
    context = make_context(
        folder / "project",
        f"sqlite:///{database}",
        selection={"encoder_height_px": 64, "encoder_width_px": 96, "budget_boxes": 900},
        explanation={"num_samples": 4, "num_segments": 40},
    )
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = list(CLASS_NAMES)
        tiny_ssd().save(context.project.root / champion.folder)
        frame = add_photo(session, context, skimage.data.chelsea(), Role.FIELD, "chelsea.jpg")
        failure = make_failure(
            1, frame, champion, label="disc", state=FailureState.FOUND, box=[60, 50, 180, 170]
        )
        session.add(failure)
        pool = [add_photo(session, context, part, Role.POOL, f"{n}.jpg") for n, part in parts()]
        request_embed(session, sorted(image.id for image in pool), 32)
        session.flush()
        units.enqueue(session, "explain", "explain:1", {"image": frame.id, "model": champion.id})
    work(context)
    yield context
    context.engine.dispose()


def parts() -> list[tuple[int, ImageArray]]:
    coffee, cat = skimage.data.coffee(), skimage.data.chelsea()
    cuts = [coffee[:200, :300], coffee[200:, :300], coffee[:, 300:], cat[:150], cat[150:], coffee]
    return list(enumerate(np.ascontiguousarray(cut) for cut in cuts))


def work(context: Context) -> None:
    """Do all queued units as a worker does, until none is left."""
    while True:
        with context.sessions() as session:
            unit = session.scalar(select(Unit).where(Unit.state == UnitState.QUEUED).limit(1))
        if unit is None:
            return
        assert shell.run(context, RESIDENT, unit.id, "test") == "done", unit.kind


@contextmanager
def copy_of(context: Context, folder: Path) -> Iterator[Context]:
    """The same project elsewhere, to be changed."""
    shutil.copytree(context.project.root, folder / "project")
    database = folder / "copy.db"
    with (
        closing(sqlite3.connect(str(context.engine.url.database))) as before,
        closing(sqlite3.connect(database)) as after,
    ):
        before.backup(after)
    wanted = context.settings.model_dump(include={"selection", "explanation"}, mode="json")
    made = make_context(folder / "project", f"sqlite:///{database}", **wanted)
    yield made
    made.engine.dispose()
