"""The report's figures of the field: same frames for both models, nothing that was taken back."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from services import units
from services.context import Context
from services.cycle import dismissals
from services.db.tables import FailureRow, FailureState, Image, Model, Role, UnitState
from services.models import registry
from services.modes import trends
from services.report import build
from services.report.read import read_rows
from services.report.summary import models_table, tiles_of
from tests.services.builders import add_champion, make_failure, make_image
from tests.services.report_project import fill
from tests.services.test_report import read


def look(session: Session, model: Model, frames: list[Image], failures: int) -> None:
    """A model has looked at frames, and failed so often in each."""
    for frame in frames:
        payload = {"image": frame.id, "model": model.id}
        unit = units.enqueue(session, "scan", f"scan:{frame.id}:{model.id}", payload)
        unit.state = UnitState.DONE
        for number in range(failures):
            name = 1000 * model.number + 10 * int(frame.id, 16) + number
            session.add(make_failure(name, frame, model))
    session.flush()


def add_frames(session: Session, *numbers: int) -> list[Image]:
    frames = [make_image(number, Role.FIELD) for number in numbers]
    session.add_all(frames)
    session.flush()
    return frames


def second_champion(session: Session) -> Model:
    session.add(model := make_model(2))
    session.flush()
    registry.promote(session, model, "test", {})
    return model


def test_models_are_compared_in_the_frames_that_both_have_looked_at(context: Context) -> None:
    with context.sessions.begin() as session:
        first = add_champion(session)
        old = add_frames(session, 1, 2, 3)
        look(session, first, old, failures=4)
        second = second_champion(session)
        look(session, second, old[:2], failures=3)  # one scan is still to come
        look(session, second, add_frames(session, 4, 5, 6, 7), failures=3)
    with context.sessions() as session:
        rows = read_rows(session, None)

    tile = tiles_of(rows)[0]

    assert (tile.before, tile.after, tile.verdict) == ("8", "6", "good")
    assert tile.note == "of models 1 and 2 in the 2 frames that both have looked at"
    _, table = models_table(rows)
    assert [line[-1] for line in table[1:]] == ["12 in 3 frames", "18 in 6 frames"]


def test_a_frame_is_one_frame_however_often_it_was_looked_at(sqlite_context: Context) -> None:
    with sqlite_context.sessions.begin() as session:
        first = add_champion(session)
        (frame,) = add_frames(session, 1)
        look(session, first, [frame], failures=1)
        again = {"image": frame.id, "model": first.id}
        units.enqueue(session, "scan", "scan:again", again).state = UnitState.DONE
        units.enqueue(session, "scan", "scan:waits", {**again, "image": f"{2:064x}"})
        session.flush()
        (tile, *_) = tiles_of(read_rows(session, None))
    assert (tile.after, tile.before, tile.note) == ("1", "", "of model 1 in 1 frame")


def test_without_a_common_frame_nothing_is_compared(sqlite_context: Context) -> None:
    with sqlite_context.sessions.begin() as session:
        first = add_champion(session)
        look(session, first, add_frames(session, 1), failures=1)
        second = second_champion(session)
        look(session, second, add_frames(session, 2), failures=5)
        (tile, *_) = tiles_of(read_rows(session, None))
    assert (tile.after, tile.before, tile.verdict) == ("5", "", "plain")
    assert tile.note == "of model 2 in 1 frame, none of which model 1 has looked at"


def test_what_was_taken_back_does_not_count(sqlite_context: Context) -> None:
    with sqlite_context.sessions.begin() as session:
        first = add_champion(session)
        (frame,) = add_frames(session, 1)
        look(session, first, [frame], failures=5)
        names = [row.id for row in session.query(FailureRow).order_by(FailureRow.id)]
        for name, state in zip(names, ("withdrawn", "dismissed", "fixed"), strict=False):
            session.get_one(FailureRow, name).state = state
        session.flush()
        field, fixed, *_ = tiles_of(read_rows(session, None))
    assert field.after == "3"
    assert (fixed.title, fixed.after) == ("Failures fixed", "1 of 3")


def test_a_mode_is_shown_without_what_was_taken_back(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = fill(sqlite_context, modes=1, failures_a_mode=3)
    gone = project.failures[0]
    with sqlite_context.sessions.begin() as session:
        dismissals.dismiss(session, sqlite_context.settings, [gone], "test")
    page = read(build(sqlite_context, tmp_path / "r.html"))
    assert "1. Missed car 1 fixed 2 1 0% 100%" in page.text  # model 2 makes none of them
    assert f"failure {gone[:8]}" not in page.text
    assert f"{gone[:8]} missed car, field-0.png (dismissed since)" in page.text
    with sqlite_context.sessions() as session:
        (trend,) = trends.trends(session, [trends.find(session, 1)])
        shown = trends.exemplars(session, trend.last)
    assert (trend.places, trend.failing) == (2, 0)  # model 2 is the champion
    assert list(trend.exemplars) == [row.id for row in shown] == project.failures[1:]
    assert FailureState.DISMISSED not in {row.state for row in shown}
