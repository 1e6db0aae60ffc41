"""Samples are drawn by real workers: killed, out of memory, and in a cycle from end to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import func, select

from benchmarks.common.processes import supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services import context as wiring
from services.config.settings import Settings
from services.context import Context
from services.cycle import drawing as cycle_drawing
from services.db.engine import reading
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    DatasetVersion,
    GeneratedRow,
    Image,
    Model,
    Role,
    SampleState,
    Unit,
    UnitState,
)
from services.demo.run import DemoOptions, run_demo
from services.demo.sizes import DemoSize
from services.models import datasets
from services.upkeep import invariants
from tests.integration.drawn_stage import FAIL, HANG
from tests.services.drawn_world import begin, cycle_of, make_world, rows

pytestmark = [pytest.mark.whole, pytest.mark.timeout(600)]
WORKERS = {"explain": ("explain",), "default": ("default",)}
STAGE = "tests.integration.drawn_stage"


@dataclass(frozen=True)
class Drawing:
    """What was to be seen while real workers drew twice for one cycle."""

    note: str
    states: dict[str, str]
    before: int
    found: list[GeneratedRow]
    unit: Unit
    labels: int
    workers: set[int]


def at_work(context: Context) -> list[int]:
    """Processes that have drawn and not stored."""
    return [int(file.name.split("-")[-1]) for file in context.project.runs.glob("at-work-*")]


def states_of(context: Context) -> dict[str, str]:
    with context.sessions() as session:
        return dict(session.execute(select(Unit.kind, Unit.state)).all())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Drawing]:
    """Workers that run out of memory, and then, asked again, one that is killed: started once."""
    folder = tmp_path_factory.mktemp("workers")
    shutil.copyfile(sqlite_template, folder / "p.db")
    wanted = {**QUICK_WORKERS, "max_attempts": 1}
    plain = make_context(folder / "p", f"sqlite:///{folder / 'p.db'}", workers=wanted)
    context, cycle_id = make_world(plain, explained=True)
    runs = context.project.runs
    with supervisor_of(context, WORKERS, STAGE) as up:
        up.wait_ready()
        (runs / FAIL).touch()
        begin(context, cycle_id)
        training = lambda: cycle_of(context, cycle_id).state == CycleState.TRAINING  # noqa: E731
        wait_until(training, 200, "the cycle to go on")
        note, states = str(cycle_of(context, cycle_id).note), states_of(context)
        before = len(rows(context))
        (runs / FAIL).unlink()
        for file in runs.glob("at-work-*"):
            file.unlink()
        (runs / HANG).touch()
        with context.sessions.begin() as session:  # as if its labels were not in yet
            cycle = session.get_one(Cycle, cycle_id)
            cycle.state = CycleState.LABELLING
            cycle_drawing.ask_by_hand(session, context, cycle)
        wait_until(lambda: bool(at_work(context)), 200, "a worker to draw")
        (pid,) = at_work(context)
        os.kill(pid, signal.SIGKILL)
        (runs / HANG).unlink()
        wait_until(lambda: bool(rows(context)), 200, "another to draw")
    with context.sessions() as session:
        query = select(Unit).where(Unit.kind == "synthesize").order_by(Unit.id.desc()).limit(1)
        unit = session.scalars(query).one()
        told = select(func.count()).where(Annotation.author == "synthesis:compose")
        labels = session.scalar(told) or 0
    yield Drawing(note, states, before, rows(context), unit, labels, set(at_work(context)))
    context.engine.dispose()


def test_drawing_that_runs_out_of_memory_holds_up_no_repair(drawing: Drawing) -> None:
    assert "no memory is left for so many pictures" in drawing.note
    assert drawing.before == 0
    assert drawing.states["synthesize"] == UnitState.DEAD
    assert "train" in drawing.states


def test_a_worker_that_is_killed_draws_nothing_twice(drawing: Drawing) -> None:
    found = drawing.found
    assert len({row.key for row in found}) == len(found) > 0
    assert drawing.unit.state == UnitState.DONE
    assert drawing.unit.lost >= 1  # a busy machine may lose a short lease beside it
    assert drawing.labels == sum(row.image_id is not None for row in found)
    assert len(drawing.workers) == 2


SIZE = DemoSize(
    seed_images=40,
    pool_images=6,
    field_frames=10,
    sibling_frames=2,
    holdout_images=4,
    budget_boxes=6,
    cycles=1,
    epochs=8,
    finetune_epochs=1,
    num_samples=4,
)


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A project after one cycle of a small street world that draws whatever it can."""
    folder = tmp_path_factory.mktemp("drawn")
    wanted = {
        "E2X_SYNTHESIS__ENABLED": "true",
        "E2X_SYNTHESIS__ABLATION": "always",
        "E2X_SYNTHESIS__MODES": "all",
        "E2X_SYNTHESIS__LEAST_FAILURES": "1",
        "E2X_SYNTHESIS__CONTROLS": "0",
        "E2X_SYNTHESIS__CANDIDATES": "5",
        "E2X_SYNTHESIS__BUDGET_IMAGES": "6",
        "E2X_SYNTHESIS__FAILURES_MODE": "1",
        "E2X_SYNTHESIS__MIN_REPRODUCED": "0.01",
        "E2X_FAILURES__SCORE_THRESHOLD": "0.2",
        "E2X_DETECTOR__INPUT_HEIGHT_PX": "96",
        "E2X_DETECTOR__INPUT_WIDTH_PX": "128",
        "E2X_SELECTION__ENCODER_HEIGHT_PX": "96",
        "E2X_SELECTION__ENCODER_WIDTH_PX": "128",
        "E2X_TRAINING__BATCH_SIZE": "4",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in wanted.items():
            patch.setenv(name, value)
        run_demo(DemoOptions(folder, SIZE, seed=3), Console(quiet=True))
    context = wiring.build(Settings(project=folder / "project"))
    yield context
    context.engine.dispose()


def test_a_cycle_draws_trains_with_and_without_and_decides(repaired: Context) -> None:
    with reading(repaired.sessions) as session:
        cycle = session.scalars(select(Cycle)).one()
        units = dict(session.execute(select(Unit.kind, Unit.state)).all())  # type: ignore[arg-type]
        kept = session.scalars(select(GeneratedRow).where(GeneratedRow.image_id.is_not(None))).all()
        drawn = session.scalars(select(DatasetVersion).where(DatasetVersion.generated > 0)).all()
        models = {row.id: row for row in session.scalars(select(Model))}
        roles = dict(session.execute(select(Image.id, Image.role)).all())  # type: ignore[arg-type]
    assert cycle.state == CycleState.DONE
    assert set(units.values()) == {UnitState.DONE}
    assert {"synthesize", "train", "train_drawn", "gate"} <= set(units)
    assert kept, cycle.drawing
    assert cycle.note is None
    assert cycle.decision is not None
    told = cycle.decision["drawn"]
    with_, without = models[told["with"]], models[told["without"]]
    assert sum(with_.training["generated"].values()) == len(kept)
    assert without.training["generated"] == {}
    assert [version.generated for version in drawn] == [len(kept)]
    assert cycle.challenger_id == told[told["chosen"]]
    assert {roles[row.donor_id] for row in kept} == {Role.SEED}
    if told["chosen"] == "without":
        assert {row.state for row in kept} == {SampleState.WITHDRAWN}
    assert invariants.check(repaired) == []


def test_the_demo_shows_what_was_drawn(repaired: Context) -> None:
    folder = repaired.project.root.parent
    result = json.loads((folder / "result.json").read_text())
    with reading(repaired.sessions) as session:
        drawn = session.scalars(select(GeneratedRow)).all()
    kept = [row for row in drawn if row.image_id is not None]
    assert (result["samples_drawn"], result["samples_kept"]) == (len(drawn), len(kept))
    page = (folder / "report.html").read_text()
    assert "Samples drawn" in page
    assert f"{len(kept)} kept" in page
    assert "What was drawn for it" in page


def test_what_was_drawn_is_nobody_s_judge_and_nobody_s_frame(repaired: Context) -> None:
    with reading(repaired.sessions) as session:
        generated = set(session.scalars(select(Image.id).where(Image.role == Role.GENERATED)))
        judged = set[str]()
        for role in (Role.HOLDOUT, Role.SIBLINGS, Role.FIELD):
            judged |= {one.image for one in datasets.labelled_set(session, role).items}
        scanned = {
            payload.get("image")
            for payload in session.scalars(select(Unit.payload).where(Unit.kind == "scan"))
        }
    assert generated
    assert not generated & judged
    assert not generated & scanned
