"""Two at once, each with a connection of its own: nobody fails for it, and nothing is doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.ssd import build
from services.context import Context
from services.db import revisions
from services.db.races import in_transaction, insert_new
from services.db.tables import (
    Annotation,
    Audit,
    Cycle,
    CycleState,
    DatasetVersion,
    Image,
    LabelTask,
    Model,
    ModeRow,
    Pointer,
    Role,
    TaskState,
)
from services.errors import Conflict, ServiceError
from services.intake.imports import import_dataset
from services.labeling import queue
from services.models import datasets, importing, registry
from services.modes import recognise
from tests.services.builders import add_champion, make_image
from tests.services.datasets_on_disk import BUS, pictures, write_coco

Result = TypeVar("Result")
OBJECT = {"box": [1.0, 1.0, 9.0, 9.0], "label": "car", "ignore": False}


def at_once(*works: Callable[[], Result]) -> list[Result | ServiceError]:
    """Do things in the same moment; what each returned, or our own refusal."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], Result]) -> Result | ServiceError:
        barrier.wait()
        try:
            return work()
        except ServiceError as error:
            return error

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def _count(context: Context, table: type) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_two_imports_of_one_folder_are_one_import(context: Context, tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "seed", pictures(*range(8)))
    works = [lambda: import_dataset(context, folder, Role.SEED)] * 4

    reports = at_once(*works)

    added = [report.images_added for report in reports]  # type: ignore[union-attr]
    assert sum(added) == 8
    assert all(report.images_known == 8 - new for report, new in zip(reports, added, strict=True))  # type: ignore[union-attr]
    assert (_count(context, Image), _count(context, Annotation)) == (8, 8)


def test_two_imports_of_other_labels_take_numbers_one_after_the_other(
    context: Context, tmp_path: Path
) -> None:
    import_dataset(context, write_coco(tmp_path / "a", pictures(1, 2)), Role.SEED)
    sources = [write_coco(tmp_path / "b", pictures(1, 2), [BUS]), tmp_path / "c"]
    write_coco(sources[1], pictures(2, 1), [BUS, {**BUS, "bbox": [2, 3, 10, 8]}])

    at_once(*(lambda s=source: import_dataset(context, s, Role.SEED) for source in sources))

    with context.sessions() as session:
        rows = session.execute(select(Annotation.image_id, Annotation.revision)).all()
    assert sorted(row[1] for row in rows) == [1, 1, 2, 2, 3, 3]
    assert len({tuple(row) for row in rows}) == 6


def test_two_roles_for_one_image_give_it_one(context: Context, tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "a", pictures(1, 2, 3))

    reports = at_once(
        lambda: import_dataset(context, folder, Role.SEED),
        lambda: import_dataset(context, folder, Role.HOLDOUT),
    )

    with context.sessions() as session:
        roles = set(session.scalars(select(Image.role)))
    assert len(roles) == 1
    told = [len(report.problems) for report in reports]  # type: ignore[union-attr]
    assert sorted(told) == [0, 3]


def _tasks(context: Context) -> list[tuple[int, int]]:
    """Two leased tasks of one image, of two cycles; numbers and tokens."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        session.add(image := make_image(1))
        session.flush()
        for number in range(2):
            cycle = Cycle(policy="e2x", budget_boxes=9, champion_id=champion.id, kind="full")
            cycle.state, cycle.trigger = CycleState.LABELLING, "person"
            session.add(cycle)
            session.flush()
            session.add(LabelTask(cycle_id=cycle.id, image_id=image.id))
            session.add(other := make_image(10 + number))  # so that neither cycle is over
            session.flush()
            session.add(LabelTask(cycle_id=cycle.id, image_id=other.id, priority=-1.0))
    with context.sessions.begin() as session:
        leased = queue.lease(session, "anna", 2, 60.0)
        assert {task.image_id for task in leased} == {image.id}
        return [(task.id, task.token) for task in leased]


def _answer(context: Context, task: tuple[int, int], x: float) -> int:
    with context.sessions.begin() as session:
        said = [{**OBJECT, "box": [x, 1.0, 9.0, 9.0]}]
        stored = queue.submit(session, context, *task, said, "anna")
        assert stored is not None
        return stored.revision


def test_two_answers_about_one_image_are_two_revisions(context: Context) -> None:
    first, second = _tasks(context)

    found = at_once(lambda: _answer(context, first, 1.0), lambda: _answer(context, second, 2.0))

    assert sorted(found) == [1, 2]  # type: ignore[type-var]


def test_two_answers_to_one_task_are_an_answer_and_its_revision(context: Context) -> None:
    task, _ = _tasks(context)

    found = at_once(*(lambda x=x: _answer(context, task, x) for x in (1.0, 2.0)))

    assert sorted(found) == [1, 2]  # type: ignore[type-var]
    with context.sessions() as session:
        row = session.get_one(LabelTask, task[0])
        assert row.state == TaskState.SUBMITTED
        assert session.get_one(Annotation, row.annotation_id).revision == 2


def test_two_first_champions_are_promoted_one_after_the_other(context: Context) -> None:
    with context.sessions.begin() as session:
        session.add_all(make_model(number) for number in (1, 2))

    def promote(number: int) -> None:
        with context.sessions.begin() as session:
            registry.promote(session, registry.find(session, str(number)), "test", {})

    at_once(lambda: promote(1), lambda: promote(2))

    with context.sessions() as session:
        assert session.scalars(select(Pointer)).one().version == 2
        states = sorted(session.scalars(select(Model.state)))
        previous = [row.detail["previous"] for row in session.scalars(select(Audit))]
    assert states == ["champion", "retired"]
    assert previous.count(None) == 1


def _detector(*names: str) -> SsdDetector:
    config = DetectorConfig("ssdlite_efficientnet_lite0", ("background", *names), (96, 96))
    return SsdDetector(build(config).eval(), config)


def test_models_that_are_added_at_once_get_numbers_of_their_own(context: Context) -> None:
    detectors = [_detector("car"), _detector("car", "bus")]
    works = [
        (lambda d=one: importing.add(context, d, Path("a"), "test").number)
        for one in (*detectors, detectors[0])
    ]

    found = at_once(*works)

    refused = [one for one in found if isinstance(one, ServiceError)]
    numbers = [one for one in found if not isinstance(one, ServiceError)]
    assert all(isinstance(one, Conflict) for one in refused)
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert _count(context, Model) == len(numbers) <= 2


def test_one_dataset_version_is_built_by_two_at_once(context: Context) -> None:
    with context.sessions.begin() as session:
        session.add(image := make_image(1, Role.SEED))
        session.flush()
        revisions.add(session, [Annotation(image_id=image.id, objects=[OBJECT])])

    built = at_once(*[lambda: datasets.build_version(context)] * 3)

    assert len({version.id for version in built}) == 1  # type: ignore[union-attr]
    assert _count(context, DatasetVersion) == 1


def test_two_who_judge_the_modes_note_a_change_once(context: Context) -> None:
    with context.sessions.begin() as session:
        champion = add_champion(session)
        cycle = Cycle(policy="e2x", budget_boxes=9, champion_id=champion.id, kind="full")
        cycle.state, cycle.trigger = CycleState.DONE, "person"
        session.add(cycle)
        session.flush()
        row = ModeRow(name="missed car 1", family="missed", label="car", state="fixed")
        row.opened_cycle_id = cycle.id
        session.add(row)
    changes = _changes(context)

    def settle() -> None:
        with context.sessions.begin() as session:
            recognise.settle(session, context.settings)

    at_once(settle, settle, settle)

    once = _changes(context) - changes
    settle()
    assert once <= 1
    assert _changes(context) - changes == once


def _changes(context: Context) -> int:
    with context.sessions() as session:
        query = select(func.count()).where(Audit.action == recognise.ACTION)
        return session.scalar(query) or 0


def test_what_loses_is_done_again_and_only_that(context: Context) -> None:
    """The second inserts what the first has inserted since it looked."""
    tries: list[int] = []

    def number_of_a_new_model(session: Session) -> int:
        tries.append(len(tries))
        number = (session.scalar(select(func.max(Model.number))) or 0) + 1
        if len(tries) == 1 and context.engine.dialect.name == "postgresql":
            with context.sessions.begin() as other:
                other.add(make_model(number, id="f" * 64))
        session.add(make_model(number))
        session.flush()
        return number

    number = in_transaction(context.sessions, number_of_a_new_model)
    lost = context.engine.dialect.name == "postgresql"
    assert (number, len(tries)) == ((2, 2) if lost else (1, 1))

    def impossible(session: Session) -> None:
        tries.append(0)
        session.add(Annotation(image_id="none", objects=[]))

    before = len(tries)
    with pytest.raises(DBAPIError):  # no such image: no faster writer is to blame
        in_transaction(context.sessions, impossible)
    assert len(tries) == before + 1


def test_what_is_there_is_not_inserted_again(context: Context) -> None:
    rows: Sequence[dict[str, Any]] = [
        {"id": f"{n}" * 64, "version": 1, "name": f"p{n}", "target": "t"} for n in range(3)
    ]
    plain = [{k: v for k, v in row.items() if k != "id"} for row in rows]
    with context.sessions.begin() as session:
        assert insert_new(session, Pointer, plain[:1], ("name",)) == [("p0",)]
    with context.sessions.begin() as session:
        assert sorted(insert_new(session, Pointer, plain, ("name",))) == [("p1",), ("p2",)]
        assert insert_new(session, Pointer, [], ("name",)) == []
