"""The thorough look: a whole project passes, and each thing that is broken on purpose is found."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.db.base import utc_now
from services.db.tables import (
    CandidateRow,
    Cycle,
    CycleState,
    DatasetVersion,
    Embedding,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    ModelState,
    Pointer,
    TaskState,
    Unit,
    UnitState,
)
from services.stages import index as index_stage
from services.store.region_index import open_index
from services.store.storage import read_npz
from services.upkeep import invariants, rows
from services.upkeep.invariants.files import spread
from services.upkeep.invariants.finding import TOLD
from services.upkeep.invariants.mend import mend
from tests.services.commands import CommandLine
from tests.services.whole_project import ENCODER, WIDTH, make_whole


@pytest.fixture
def whole(sqlite_context: Context) -> Context:
    """A project of which every invariant holds."""
    make_whole(sqlite_context)
    return sqlite_context


def found(context: Context, **options: Any) -> list[str]:
    return [f"{one.what}: {one.found}" for one in invariants.check(context, **options)]


def test_a_whole_project_has_no_finding(context: Context) -> None:
    assert found(context) == []  # and an empty one neither
    make_whole(context)
    assert found(context) == []
    assert not (context.project.index / ("0" * 16)).exists()


def _images(context: Context) -> list[Path]:
    return sorted(context.project.images.glob("*/*"))


def _file(*parts: str) -> Callable[[Context], None]:
    def gone(context: Context) -> None:
        context.project.root.joinpath(*parts).unlink()

    return gone


def _damaged(folder: str, pattern: str) -> Callable[[Context], None]:
    def damage(context: Context) -> None:
        path = next((context.project.root / folder).glob(pattern))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)

    return damage


def _rows(change: Callable[[Session], object]) -> Callable[[Context], None]:
    def apply(context: Context) -> None:
        with context.sessions.begin() as session:
            if session.get_bind().dialect.name == "sqlite":
                session.execute(text("PRAGMA defer_foreign_keys=ON"))
            change(session)

    return apply


def _unit(kind: str, **values: Any) -> Callable[[Context], None]:
    def add(session: Session) -> None:
        session.add(Unit(kind=kind, key="u", queue="explain", payload={}, **values))

    return _rows(add)


def _state(state: CycleState) -> Callable[[Context], None]:
    return _rows(lambda session: session.execute(update(Cycle).values(state=state)))


def _both(*breaks: Callable[[Context], None]) -> Callable[[Context], None]:
    def apply(context: Context) -> None:
        for one in breaks:
            one(context)

    return apply


def _forget_indexed(context: Context) -> None:
    opened = open_index(context, ENCODER, WIDTH)
    opened.delete(opened.images()[0])


BROKEN: dict[str, tuple[Callable[[Context], None], str]] = {
    "image file": (lambda c: _images(c)[0].unlink(), "images: image .* has no file"),
    "image bytes": (_damaged("images", "*/*"), "images: .* does not hold what it is named by"),
    "manifest": (_damaged("manifests", "*.jsonl"), "datasets: version .* not have this hash"),
    "manifest row": (
        _rows(lambda s: s.execute(update(DatasetVersion).values(file="../../etc/passwd"))),
        "datasets: version .* is not what",
    ),
    "weights": (_damaged("models", "1/*.safetensors"), "models: model 1: .*"),
    "model folder": (lambda c: shutil.rmtree(c.project.models / "1"), "models: model 1: .*"),
    "no pointer": (
        _rows(lambda s: s.execute(delete(Pointer))),
        "models: 1 models and no champion",
    ),
    "pointer to nothing": (
        _rows(lambda s: s.execute(update(Pointer).values(target="f" * 64))),
        "models: the champion is model f+, which is gone",
    ),
    "no champion": (
        _rows(lambda s: s.execute(update(Model).values(state=ModelState.RETIRED))),
        "models: the champion is model 1, marked as champions are: none",
    ),
    "no explanation": (
        _rows(lambda s: s.execute(delete(Explanation))),
        "failures: failure .* is explained and has no explanation",
    ),
    "scan": (
        _rows(lambda s: s.execute(update(Unit).values(state=UnitState.CANCELLED))),
        "frames: frame .* was never looked at by the champion",
    ),
    "fixed by nobody": (
        _rows(lambda s: s.execute(update(FailureRow).values(state=FailureState.FIXED))),
        "failures: failure .* is fixed by nobody",
    ),
    "explanation file": (
        _file("explanations", "ff", "explained.npz"),
        "files: explanation .* has no file",
    ),
    "explanation bytes": (_damaged("explanations", "*/*"), "files: explanation .*damaged"),
    "trace": (_file("modes", "1", "mode.npz"), "files: modes/1/mode.npz is missing"),
    "embeddings": (_file("embeddings", "some", "batch.npz"), "index: embeddings/.* is missing"),
    "index": (lambda c: shutil.rmtree(c.project.index), "index: index/e+ is missing, 3 images"),
    "index bytes": (_damaged("index", "*/vectors*"), "index: index/e+: .* differs"),
    "index entry": (_forget_indexed, "index: image .* is not in index/e+"),
    "index stranger": (
        _rows(lambda s: s.delete(s.scalars(select(Embedding).limit(1)).one())),
        "index: index/e+ holds image .*, which has no embedding",
    ),
    "never indexed": (
        _rows(lambda s: s.execute(update(Embedding).values(indexed=False))),
        "index: image .* is embedded, and nothing will index it",
    ),
    "leased by nobody": (
        _unit("scan", state=UnitState.LEASED),
        "units: unit .* is leased by nobody",
    ),
    "silent worker": (
        _unit(
            "scan",
            state=UnitState.LEASED,
            owner="me",
            lease_until=utc_now() - timedelta(days=1),
        ),
        "units: unit .* is held by a worker that fell silent",
    ),
    "unknown kind": (_unit("nonsense"), "units: 1 units of kind 'nonsense' wait"),
    "cancelled cycle": (
        _both(_unit("select", cycle_id=1), _state(CycleState.CANCELLED)),
        "units: unit .* works for a cycle that was cancelled",
    ),
    "two cycles": (
        _rows(lambda s: s.add(Cycle(policy="e2x", budget_boxes=1, state=CycleState.LABELLING))),
        "cycles: cycles 1, 2 run at once",
    ),
    "no unit": (_state(CycleState.TRAINING), "cycles: cycle 1 is training and has no unit 'train'"),
    "ended unit": (
        _both(_unit("gate", cycle_id=1, state=UnitState.CANCELLED), _state(CycleState.GATING)),
        "cycles: cycle 1 is gating and its unit 'gate' is cancelled",
    ),
    "no evidence": (
        _state(CycleState.EXPLAINING),
        "cycles: cycle 1 is explaining and no evidence is waited for",
    ),
    "nothing verified": (
        _state(CycleState.VERIFYING),
        "cycles: cycle 1 is verifying and nothing is verified any more",
    ),
    "all labelled": (
        _rows(lambda s: s.execute(update(LabelTask).values(state=TaskState.SKIPPED))),
        "cycles: cycle 1 is labelling and no label task is open",
    ),
    "budget spent": (
        _rows(lambda s: s.execute(update(Cycle).values(budget_boxes=1))),
        "cycles: cycle 1 is labelling and its budget is spent",
    ),
    "unwanted task": (_state(CycleState.FAILED), "labels: task .* waits for no label"),
    "task of nobody": (
        _rows(
            lambda s: s.execute(
                update(LabelTask)
                .where(LabelTask.state == TaskState.WAITING)
                .values(state=TaskState.LEASED)
            )
        ),
        "labels: task .* is leased by nobody",
    ),
    "lost answer": (
        _rows(lambda s: s.execute(update(LabelTask).values(annotation_id=None))),
        "labels: task .* is submitted, its answer is missing",
    ),
    "unselected": (
        _rows(lambda s: s.execute(delete(CandidateRow))),
        "labels: task .* asks for an image that its cycle has not selected",
    ),
    "miscounted": (
        _state(CycleState.DONE),
        "labels: cycle 1 says 0 boxes, its answers hold 1",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_found(whole: Context, what: str) -> None:
    break_it, line = BROKEN[what]
    break_it(whole)
    said = invariants.check(whole)
    assert any(_matches(line, f"{one.what}: {one.found}") for one in said), said
    assert all(one.advice for one in said)


def _matches(pattern: str, line: str) -> bool:
    return re.search(f"^{pattern}", line) is not None


def test_a_row_that_names_another_that_is_gone_is_found(whole: Context) -> None:
    file = whole.engine.url.database
    assert file is not None
    with sqlite3.connect(file) as database:  # by a program that does not watch over keys
        database.execute("DELETE FROM images WHERE id = (SELECT image_id FROM failures)")
    assert any("of failures names a row of images" in line for line in found(whole))


def test_a_sample_reads_some_files_and_looks_for_all(whole: Context) -> None:
    seen: list[tuple[str, int, int]] = []
    invariants.check(whole, sample=2, on_progress=lambda *told: seen.append(told))
    assert ("images", 2, 2) in seen
    assert ("models", 1, 1) in seen
    for path in _images(whole):
        path.unlink()
    assert len([line for line in found(whole, sample=1) if "has no file" in line]) == 5
    assert spread(range(10), 3) == [0, 3, 6]


def test_a_store_that_is_gone_does_not_fill_the_screen(whole: Context) -> None:
    with whole.sessions.begin() as session:
        first = session.scalars(select(Image).limit(1)).one()
        for number in range(TOLD + 5):
            session.add(
                Image(
                    id=f"{number:064x}",
                    role="pool",
                    file=f"no/{number}",
                    name="x",
                    width_px=1,
                    height_px=1,
                    perceptual_hash=first.perceptual_hash,
                )
            )
    lines = found(whole)
    assert len(lines) == TOLD + 1
    assert lines[-1] == "images: … and 5 more like these"


LOST = ["scan", "explanation file", "explanation bytes", "no explanation", "embeddings", "index"]


@pytest.mark.parametrize("what", [*LOST, "index bytes", "index entry", "index stranger"])
def test_what_can_be_made_again_is_asked_for_again(whole: Context, what: str) -> None:
    BROKEN[what][0](whole)
    said = list(mend(whole))
    assert said
    _work_on_index(whole)
    assert found(whole) == []
    with whole.sessions() as session:
        waiting = set(session.scalars(select(Unit.kind).where(Unit.state == UnitState.QUEUED)))
    wanted = {"embeddings": {"embed"}, "scan": {"scan"}}
    is_index = what.startswith("index")
    assert waiting == wanted.get(what, set() if is_index else {"explain"})
    assert list(mend(whole)) == []


def test_vectors_that_only_the_lost_index_held_are_made_anew(whole: Context) -> None:
    """And those of an earlier version, which lie twice, are taken out of the files."""
    (batch,) = (path for path in whole.project.embeddings.rglob("*.npz"))
    assert "vectors" in read_npz(batch)
    said = list(mend(whole))
    assert any("files no longer hold" in line for line in said)
    assert set(read_npz(batch)) == {"counts", "wholes"}
    assert found(whole) == []
    assert list(mend(whole)) == []

    shutil.rmtree(whole.project.index)
    assert list(mend(whole))
    with whole.sessions() as session:
        assert session.scalars(select(Embedding)).all() == []
        query = select(Unit).where(Unit.kind == "embed", Unit.state == UnitState.QUEUED)
        asked = [image for unit in session.scalars(query) for image in unit.payload["images"]]
    assert len(asked) == 3


def _work_on_index(context: Context) -> None:
    """Do the index units that wait; the others need networks."""
    from services.units.pipeline import StageContext
    from services.units.resident import Resident

    with context.sessions() as session:
        query = select(Unit.id).where(Unit.kind == "index", Unit.state == UnitState.QUEUED)
        waiting = session.scalars(query).all()
    for unit_id in waiting:
        with context.sessions.begin() as session:
            claim = units.claim(session, unit_id, "test", 60.0)
        assert claim is not None
        store = index_stage.run(StageContext(context, Resident(), lambda: None), claim)
        with context.sessions.begin() as session:
            units.finish(session, claim, store(session))


def test_failures_without_their_explanation_are_put_right_by_themselves(whole: Context) -> None:
    BROKEN["no explanation"][0](whole)
    assert rows.run(whole).frames == 1
    assert found(whole) == []
    assert rows.run(whole).frames == 0


def test_the_doctor_looks_deep(line: CommandLine) -> None:
    with line.opened() as context:
        make_whole(context)
    assert "all hold; every file was read" in line.done("doctor", "--deep").out
    with line.opened() as context:
        BROKEN["explanation file"][0](context)
        BROKEN["image bytes"][0](context)
    ran = line.run("doctor", "--deep", "--sample", "9", "--json")
    assert ran.code == 1
    broken = {one["found"]: one["advice"] for one in ran.json if one["state"] == "fail"}
    assert any("does not hold what it is named by" in found for found in broken)
    assert "`e2x doctor --deep --mend` has it made again" in broken.values()
    assert "1 explanations were lost" in line.run("doctor", "--deep", "--mend").out
    assert "go with --deep" in line.refused("doctor", "--mend")
