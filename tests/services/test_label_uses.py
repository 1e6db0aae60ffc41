"""The classes that are kept beside the annotations are those that the annotations give."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, insert, select, update
from sqlalchemy.orm import Session

from services.context import Context
from services.cycle import cycles, holdout
from services.db import label_uses, revisions
from services.db.engine import reading
from services.db.tables import Annotation, Image, Role
from services.models.classes import class_names
from tests.services.builders import add_champion, add_holdout_image, make_image
from tests.services.commands import CommandLine

NAMES = ("car", "bus", "Bus", "bicycle", "über", "tram 2", "a'b")


def _objects(*labels: str, ignore: bool = False) -> list[dict[str, Any]]:
    return [{"box": [1.0, 1.0, 9.0, 9.0], "label": one, "ignore": ignore} for one in labels]


def _recomputed(session: Session, *roles: Role, counted: bool = False) -> set[str]:
    """The same from every newest annotation, as anybody would write it."""
    newest: dict[str, Annotation] = {}
    query = select(Annotation).join(Image, Image.id == Annotation.image_id)
    for row in session.scalars(query.where(Image.role.in_(roles)).order_by(Annotation.revision)):
        newest[row.image_id] = row
    return {
        entry["label"]
        for row in newest.values()
        for entry in row.objects
        if not (counted and entry["ignore"])
    }


def test_after_any_operations_they_are_those_of_the_newest_truth(context: Context) -> None:
    rng = random.Random(0)
    roles = (Role.SEED, Role.POOL, Role.HOLDOUT, Role.SIBLINGS, Role.FIELD)
    with context.sessions.begin() as session:
        session.add_all(make_image(n, roles[n % len(roles)]) for n in range(20))
    for step in range(60):
        images = [f"{rng.randrange(20):064x}" for _ in range(rng.choice((1, 1, 3)))]
        with context.sessions() as session:
            said = [_said(rng, image) for image in images]
            if rng.random() < 0.5:
                revisions.add(session, said)
            else:
                with session.begin_nested() as part:
                    revisions.add(session, said)
                    if rng.random() < 0.5:
                        part.rollback()
            if rng.random() < 0.2:
                _remove_newest(session, images[0])
            if rng.random() < 0.8:
                session.commit()
        with reading(context.sessions) as session:
            for wanted in ((Role.SEED,), (Role.SEED, Role.POOL), (Role.HOLDOUT,)):
                assert label_uses.labels(session, wanted) == _recomputed(session, *wanted), step
            counted = label_uses.labels(session, (Role.HOLDOUT,), counted=True)
            assert counted == _recomputed(session, Role.HOLDOUT, counted=True)
            assert label_uses.recount(session) == 0


def _said(rng: random.Random, image_id: str) -> Annotation:
    objects = [
        entry
        for ignore in (False, True)
        for entry in _objects(*rng.choices(NAMES, k=rng.randrange(3)), ignore=ignore)
    ]
    return Annotation(image_id=image_id, objects=objects)


def _remove_newest(session: Session, image_id: str) -> None:
    """Nothing of ours takes a revision back; whoever does leaves what came before."""
    row = session.scalars(
        select(Annotation)
        .where(Annotation.image_id == image_id)
        .order_by(Annotation.revision.desc())
        .limit(1)
    ).first()
    if row is not None:
        session.delete(row)


def test_a_class_goes_when_its_last_object_is_corrected(context: Context) -> None:
    with context.sessions.begin() as session:
        session.add(image := make_image(1, Role.SEED))
        session.flush()
        revisions.add(session, [Annotation(image_id=image.id, objects=_objects("car", "cra"))])
    with context.sessions.begin() as session:
        assert class_names(session) == ("background", "car", "cra")
        revisions.add(session, [Annotation(image_id=image.id, objects=_objects("car"))])
    with reading(context.sessions) as session:
        assert class_names(session) == ("background", "car")


def test_what_was_written_past_us_is_found_and_mended(context: Context) -> None:
    with context.sessions.begin() as session:
        session.add_all(images := [make_image(n, Role.SEED) for n in range(3)])
        session.flush()
        revisions.add(session, [Annotation(image_id=images[0].id, objects=_objects("car"))])
        row = {"image_id": images[1].id, "objects": _objects("bus")}
        session.execute(insert(Annotation.__table__), [row])  # type: ignore[arg-type]
        session.execute(update(Annotation.__table__).values(objects=_objects("tram")))  # type: ignore[arg-type]

    with context.sessions.begin() as session:
        assert label_uses.recount(session) == 2
        assert label_uses.recount(session, mend=True) == 2
    with reading(context.sessions) as session:
        assert label_uses.recount(session) == 0
        assert class_names(session) == ("background", "tram")


@contextmanager
def _rows_read(engine: Engine) -> Iterator[list[str]]:
    """Statements that read annotations, as they are sent."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM annotations" in statement or "JOIN annotations" in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_neither_the_classes_nor_the_start_of_a_cycle_read_all_annotations(
    context: Context,
) -> None:
    with context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
    with _rows_read(context.engine) as seen, context.sessions.begin() as session:
        assert class_names(session) == ("background", "car")
        assert holdout.counted_labels(session) == {"car"}
        assert seen == []
        cycles.start(session, context, kind=cycles.RETRAIN)
    assert all("LIMIT" in statement or "count(" in statement for statement in seen), seen


def test_the_classes_are_found_by_steps_of_the_index(sqlite_context: Context) -> None:
    """The plan of the query: a search for the first class, and one from each class to the next."""
    query = label_uses._distinct(Role.SEED, False, 0)
    text = str(query.compile(sqlite_context.engine, compile_kwargs={"literal_binds": True}))
    with reading(sqlite_context.sessions) as session:
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
    steps = [row[3] for row in plan if "label_uses" in row[3]]
    assert len(steps) == 2, plan
    for step in steps:
        assert step.startswith("SEARCH label_uses USING COVERING INDEX ix_label_uses_role"), step
    assert "label>?" in steps[1]


def test_the_doctor_finds_what_is_wrong_and_init_mends_it(line: CommandLine) -> None:
    with line.opened() as context, context.sessions.begin() as session:
        session.add(image := make_image(1, Role.SEED))
        session.flush()
        row = {"image_id": image.id, "objects": _objects("bus")}
        session.execute(insert(Annotation.__table__), [row])  # type: ignore[arg-type]

    assert "classes that are kept of 1 images" in line.run("doctor").out
    line.done("init", line.root)
    assert "classes that are kept of 1 images" in line.run("doctor").out  # not at every start
    line.done("init", line.root, "--recount")
    assert "classes that are kept" not in line.run("doctor").out
    with line.opened() as context, reading(context.sessions) as session:
        assert class_names(session) == ("background", "bus")
