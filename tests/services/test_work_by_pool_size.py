"""What a cycle's start, its plan and the API's lists cost, in a pool and in one eight times larger.

Counted are steps of the database's own machine, which do not depend on the clock: a query that goes
over all images of the pool takes eight times as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, insert
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_context
from curation.modes.dealing import Side
from services.api.app import create_app
from services.api.auth import project_token
from services.context import Context
from services.cycle import cycles, triggers
from services.db import sides
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import (
    Cycle,
    CycleState,
    Embedding,
    FieldSide,
    Image,
    Role,
    Unit,
    UnitState,
)
from services.selection.inputs import barred_hashes, spent
from services.selection.outlook import read_plan
from services.stages import evidence
from tests.services.builders import (
    add_champion,
    add_holdout_image,
    make_explanation,
    make_failure,
    make_image,
)

SMALL, LARGE = 500, 4000
ENCODER = "e" * 64
DRIVE = 100
"""Pool images of one drive."""
JUDGING = "drive 0", "drive 1"
"""Drives that judge: one is stored, one is dealt now."""
EVERY = 10
"""Steps between two counts."""


def fill(context: Context, pool: int) -> Context:
    """A champion with a failure, and an embedded pool whose units are done."""
    now = utc_now()
    with context.sessions.begin() as session:
        champion = add_champion(session)
        add_holdout_image(session)
        frame = make_image(10**6, Role.FIELD)
        session.add(frame)
        session.flush()
        failure = make_failure(1, frame, champion)
        session.add(failure)
        session.flush()
        session.add(make_explanation(failure, encoder_version=ENCODER))
        session.add(Cycle(id=100, policy="e2x", budget_boxes=1, state=CycleState.DONE))
        session.flush()
        session.add(FieldSide(group=JUDGING[0], side=Side.JUDGE, cycle_id=100))
        images = [
            {**_columns(make_image(row)), "group": f"drive {row // DRIVE}", "created_at": now}
            for row in range(pool)
        ]
        session.execute(insert(Image), images)
        embedded = [
            {
                "image_id": one["id"],
                "encoder_version": ENCODER,
                "file": f"{row // 32}.npz",
                "row": row % 32,
                "regions": 2,
                "indexed": True,
            }
            for row, one in enumerate(images)
        ]
        session.execute(insert(Embedding), embedded)
        done = [
            {
                "kind": kind,
                "key": f"{kind}:{row}",
                "queue": kind,
                "state": UnitState.DONE,
                "payload": {"images": []},
                "result": {"unreadable": 0},
            }
            for kind in ("embed", "index")
            for row in range(pool // 32)
        ]
        session.execute(insert(Unit), done)
    return context


def _columns(image: Image) -> dict[str, Any]:
    names = ("id", "role", "file", "name", "width_px", "height_px", "perceptual_hash")
    return {name: getattr(image, name) for name in names}


@pytest.fixture(scope="module")
def projects(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[tuple[Context, Context]]:
    """A small pool and a large one."""
    made = []
    for size in (SMALL, LARGE):
        folder = tmp_path_factory.mktemp("pool")
        database = folder / "e2x.db"
        database.write_bytes(sqlite_template.read_bytes())
        made.append(fill(make_context(folder / "project", f"sqlite:///{database}"), size))
    yield made[0], made[1]
    for context in made:
        context.engine.dispose()


@contextmanager
def counting(context: Context) -> Iterator[list[int]]:
    """Counts the steps of all statements; of connections that are opened in the block."""
    found = [0]

    def step() -> int:
        found[0] += 1
        return 0

    def prepare(connection: Any, *_: object) -> None:
        connection.set_progress_handler(step, EVERY)

    def rest(connection: Any, *_: object) -> None:
        connection.set_progress_handler(None, EVERY)

    event.listen(context.engine, "checkout", prepare)
    event.listen(context.engine, "checkin", rest)
    try:
        yield found
    finally:
        event.remove(context.engine, "checkout", prepare)
        event.remove(context.engine, "checkin", rest)


def growth(projects: tuple[Context, Context], ask: Callable[[Context], object]) -> float:
    """Steps of a question to the large pool, times those to the small one."""
    counts = []
    for context in projects:
        with counting(context) as found:
            ask(context)
        counts.append(found[0])
    assert counts[0] > 0
    return counts[1] / counts[0]


def _in_session(ask: Callable[[Session], object]) -> Callable[[Context], object]:
    def asked(context: Context) -> object:
        with reading(context.sessions) as session:
            return ask(session)

    return asked


def test_a_query_over_the_pool_would_be_seen(projects: tuple[Context, Context]) -> None:
    missing = growth(projects, lambda context: evidence.missing(context, "none", ENCODER))
    assert missing > LARGE / SMALL / 2


def test_the_start_of_a_cycle_does_not_grow(projects: tuple[Context, Context]) -> None:
    def start(context: Context) -> None:
        with context.sessions.begin() as session:
            cycles.start(session, context, policy="e2x")
            session.rollback()

    assert growth(projects, start) < 1.1


def test_what_is_kept_for_judges_is_found_by_their_drives(
    projects: tuple[Context, Context],
) -> None:
    def kept(context: Context) -> None:
        with reading(context.sessions) as session:
            found = sides.kept_for_judges(session, dict.fromkeys(JUDGING, Side.JUDGE))
        assert len(found.images) == len(JUDGING) * DRIVE

    assert growth(projects, kept) < 1.1


@pytest.mark.parametrize("ask", [barred_hashes, spent])
def test_what_is_barred_does_not_grow(
    projects: tuple[Context, Context], ask: Callable[[Context], object]
) -> None:
    assert growth(projects, ask) < 1.1


@pytest.mark.parametrize("ask", [triggers.new_failures, triggers.new_labels])
def test_what_the_scheduler_asks_does_not_grow(
    projects: tuple[Context, Context], ask: Callable[[Session], object]
) -> None:
    assert growth(projects, _in_session(ask)) < 1.1


@pytest.mark.parametrize(
    "path", ["failures", "modes", "tasks", "cycles", "models", "units?limit=5"]
)
def test_lists_of_the_api_do_not_grow(projects: tuple[Context, Context], path: str) -> None:
    async def get(context: Context) -> int:
        headers = {"Authorization": f"Bearer {project_token(context)}"}
        transport = httpx.ASGITransport(create_app(context))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get(f"/v1/{path}", headers=headers)).status_code

    def ask(context: Context) -> None:
        import anyio

        assert anyio.run(get, context) == 200

    assert growth(projects, ask) < 1.1


def test_a_plan_counts_images_and_units_and_reads_none(
    projects: tuple[Context, Context],
) -> None:
    """It says how large the pool is: a count goes along an index, at a few steps an entry."""
    steps = []
    for context in projects:
        with counting(context) as found:
            _in_session(lambda session, context=context: read_plan(session, context))(context)  # type: ignore[misc]
        steps.append(found[0] * EVERY)
    assert (steps[1] - steps[0]) / (LARGE - SMALL) < 20
