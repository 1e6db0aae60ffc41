"""Importing again never undoes what a person has said since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from services.context import Context
from services.db import revisions
from services.db.convert import latest_annotations
from services.db.tables import Annotation, Cycle, CycleState, Image, LabelTask, Role
from services.intake.frames import ingest_frame
from services.intake.import_files import ImportReport
from services.intake.imports import ImportOptions, import_dataset
from services.labeling import queue
from tests.services.builders import add_champion
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import BUS, pictures, write_coco

BUS_ALONE = [{"box": [20.0, 10.0, 50.0, 30.0], "label": "bus", "ignore": False}]
CORRECTED = [{"box": [3.0, 4.0, 13.0, 12.0], "label": "car", "ignore": False}]


def _image_id(context: Context, name: str) -> str:
    with context.sessions() as session:
        return session.scalars(select(Image.id).where(Image.name == name)).one()


def _truth(context: Context, name: str) -> Annotation:
    image_id = _image_id(context, name)
    with context.sessions() as session:
        return latest_annotations(session, [image_id])[image_id]


def _correct(context: Context, name: str, objects: list[dict[str, Any]] | None = None) -> None:
    """A person's revision, as an answer or a correction leaves it."""
    image_id = _image_id(context, name)
    with context.sessions.begin() as session:
        said = Annotation(image_id=image_id, objects=objects or CORRECTED, author="anna")
        revisions.add(session, [said])


def _counted(report: ImportReport) -> tuple[int, int, int]:
    return report.truths_replaced, report.corrections_kept, len(report.problems)


@pytest.fixture
def source(context: Context, tmp_path: Path) -> Path:
    """A folder whose two images are in the seed set."""
    folder = write_coco(tmp_path / "seed", pictures(1, 2))
    assert _counted(import_dataset(context, folder, Role.SEED)) == (0, 0, 0)
    return folder


def test_a_correction_stays_and_is_counted(context: Context, source: Path) -> None:
    _correct(context, "frame_0001.png")

    for _ in range(2):
        report = import_dataset(context, source, Role.SEED)

        assert _counted(report) == (0, 1, 0)
        assert report.complete
    truth = _truth(context, "frame_0001.png")
    assert (truth.revision, truth.author, truth.objects) == (2, "anna", CORRECTED)


def test_where_the_source_has_changed_too_the_picture_is_named(
    context: Context, source: Path
) -> None:
    _correct(context, "frame_0001.png")
    write_coco(source, pictures(1, 2), [BUS])

    report = import_dataset(context, source, Role.SEED)

    assert _counted(report) == (1, 1, 1)
    (problem,) = report.problems
    assert (problem.where, problem.loses) == ("frame_0001.png", "nothing")
    assert "anna" in problem.message
    assert "--replace-corrections" in problem.message
    assert _truth(context, "frame_0001.png").objects == CORRECTED
    assert _truth(context, "frame_0002.png").objects == BUS_ALONE


def test_the_source_takes_its_place_where_it_is_told_to(context: Context, source: Path) -> None:
    _correct(context, "frame_0001.png")

    report = import_dataset(context, source, Role.SEED, ImportOptions(replace_corrections=True))

    assert _counted(report) == (1, 0, 0)
    truth = _truth(context, "frame_0001.png")
    assert (truth.revision, len(truth.objects)) == (3, 2)
    assert _counted(import_dataset(context, source, Role.SEED)) == (0, 0, 0)


def test_a_correction_that_says_what_the_source_says_is_none(
    context: Context, source: Path
) -> None:
    _correct(context, "frame_0001.png", BUS_ALONE)
    write_coco(source, pictures(1), [BUS])

    assert _counted(import_dataset(context, source, Role.SEED)) == (0, 0, 0)
    assert _truth(context, "frame_0001.png").revision == 2


def test_words_about_a_field_frame_stay(context: Context, tmp_path: Path) -> None:
    with context.sessions.begin() as session:
        add_champion(session).class_names = ["background", "car", "bus"]
    (data,) = pictures(1).values()
    folder = write_coco(tmp_path / "field", pictures(1))
    import_dataset(context, folder, Role.FIELD)
    ingest_frame(context, data, "again.png", objects=CORRECTED, reporter="anna")

    assert _counted(import_dataset(context, folder, Role.FIELD)) == (0, 1, 0)
    assert _truth(context, "frame_0001.png").objects == CORRECTED


def test_an_answer_to_a_label_task_stays(context: Context, source: Path) -> None:
    images = [_image_id(context, name) for name in pictures(1, 2)]
    with context.sessions.begin() as session:
        champion = add_champion(session)
        cycle = Cycle(policy="e2x", budget_boxes=9, champion_id=champion.id, kind="full")
        cycle.state, cycle.trigger = CycleState.LABELLING, "person"
        session.add(cycle)
        session.flush()
        session.add_all(LabelTask(cycle_id=cycle.id, image_id=one) for one in images)
    with context.sessions.begin() as session:
        (task,) = queue.lease(session, "bert", 1, 60.0)
        said = [{"box": [3, 4, 13, 12], "label": "car"}]
        queue.submit(session, context, task.id, task.token, said, "import")  # only a name

    assert _counted(import_dataset(context, source, Role.SEED)) == (0, 1, 0)


def test_the_command_says_what_stays_and_takes_it_where_told(
    line: CommandLine, tmp_path: Path
) -> None:
    source = write_coco(tmp_path / "seed", pictures(1, 2))
    again = ("import", source, "--role", "seed")
    line.done(*again)
    with line.opened() as context:
        _correct(context, "frame_0001.png")

    assert "1 truths were corrected by people since and stay" in line.done(*again).out
    told = line.done(*again, "--replace-corrections", "--json").json[str(source)]
    assert (told["truths_replaced"], told["corrections_kept"]) == (1, 0)
