"""Rows that must agree with each other: the database itself, the champion, the failures."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from services.context import Context
from services.db import sides
from services.db.engine import reading
from services.db.tables import (
    EVALUATION_ROLES,
    Explanation,
    FailureRow,
    FailureState,
    GeneratedRow,
    HarmRow,
    Image,
    Look,
    Model,
    ModelState,
    Pointer,
    Role,
    SampleState,
    Unit,
    UnitState,
)
from services.units.requests import CHAMPION
from services.upkeep.invariants.finding import Finding

RESTORE = "restore the project from a backup"


def database(context: Context) -> Iterator[Finding]:
    """SQLite's own look at its file; PostgreSQL keeps keys itself and checks pages by itself."""
    if context.engine.dialect.name != "sqlite":
        return
    try:
        with reading(context.sessions) as session:
            said = session.execute(text("PRAGMA quick_check(5)")).scalars().all()
            broken = session.execute(text("PRAGMA foreign_key_check")).all()
    except SQLAlchemyError as error:
        yield Finding("database", "fail", str(error).splitlines()[0], RESTORE)
        return
    for line in said:
        if line != "ok":
            yield Finding("database", "fail", f"the file is damaged: {line}", RESTORE)
    for table, row, parent, _key in broken:
        found = f"row {row} of {table} names a row of {parent} that is gone"
        yield Finding("database", "fail", found, RESTORE)


def models(context: Context) -> Iterator[Finding]:
    """Exactly one champion once there is a model, and the pointer means it."""
    promote = "`e2x models list`, then `e2x models promote NUMBER`"
    with reading(context.sessions) as session:
        trained = session.scalar(select(func.count()).select_from(Model)) or 0
        pointer = session.get(Pointer, CHAMPION)
        meant = None if pointer is None else session.get(Model, pointer.target)
        crowned = session.scalars(
            select(Model).where(Model.state == ModelState.CHAMPION).order_by(Model.number)
        ).all()
    if pointer is None:
        if trained:
            yield Finding("models", "fail", f"{trained} models and no champion", promote)
        return
    if meant is None:
        yield Finding(
            "models", "fail", f"the champion is model {pointer.target[:12]}, which is gone", promote
        )
        return
    if [model.id for model in crowned] != [meant.id]:
        names = ", ".join(str(model.number) for model in crowned) or "none"
        yield Finding(
            "models",
            "fail",
            f"the champion is model {meant.number}, marked as champions are: {names}",
            promote,
        )


def frames(context: Context) -> Iterator[Finding]:
    """The champion looks at every frame, or has."""
    for image_id in never_looked_at(context):
        found = f"frame {image_id[:12]} was never looked at by the champion, and nothing will"
        yield Finding("frames", "fail", found, "`e2x doctor --deep --mend` asks for it")


def never_looked_at(context: Context) -> list[str]:
    """Frames that no unit lets the champion look at, whatever came of it."""
    model, image = Unit.payload["model"].as_string(), Unit.payload["image"].as_string()
    with reading(context.sessions) as session:
        pointer = session.get(Pointer, CHAMPION)
        if pointer is None:
            return []
        asked = select(image).where(
            Unit.kind == "scan", Unit.state != UnitState.CANCELLED, model == pointer.target
        )
        looked = select(Look.image_id).where(Look.model_id == pointer.target)
        known = {*session.scalars(asked), *session.scalars(looked)}
        stored = session.scalars(select(Image.id).where(Image.role == Role.FIELD)).all()
    return sorted(set(stored) - known)


def failures(context: Context) -> Iterator[Finding]:
    """What is explained has an explanation, and what is fixed says by whom."""
    bare = ~select(Explanation.id).where(Explanation.failure_id == FailureRow.id).exists()
    explained, fixed = FailureState.EXPLAINED, FailureState.FIXED
    with reading(context.sessions) as session:
        unexplained = session.scalars(
            select(FailureRow.id).where(FailureRow.state == explained, bare).order_by(FailureRow.id)
        ).all()
        by_nobody = session.scalars(
            select(FailureRow.id).where(
                (FailureRow.state == fixed) != FailureRow.fixed_by.is_not(None)
            )
        ).all()
    for failure_id in unexplained:
        yield Finding(
            "failures",
            "fail",
            f"failure {failure_id[:12]} is explained and has no explanation",
            "`e2x up` puts it right within ten minutes, the next cycle explains it",
        )
    for failure_id in by_nobody:
        yield Finding(
            "failures",
            "fail",
            f"failure {failure_id[:12]} is fixed by nobody, or open and fixed by a model",
            "`e2x models promote` the champion's predecessor and back looks at every frame again",
        )


def drawn(context: Context) -> Iterator[Finding]:
    """Nothing that judges gave pixels to a sample that is kept, or that waits for a person."""
    mend = "`e2x synthesis withdraw ID`"
    with reading(context.sessions) as session:
        judges = Image.role.in_(EVALUATION_ROLES) | ((Image.role == Role.FIELD) & sides.is_judged())
        query = (
            select(GeneratedRow.id, Image.id, Image.role)
            .join(HarmRow, HarmRow.id == GeneratedRow.harm_id)
            .join(Image, Image.id.in_((GeneratedRow.donor_id, HarmRow.image_id)))
            .where(GeneratedRow.state.in_((SampleState.KEPT, SampleState.DRAWN)), judges)
            .order_by(GeneratedRow.id)
        )
        found = session.execute(query).all()
    for sample, image, role in found:
        told = f"sample {sample} shows pixels of image {image[:12]}, which judges ({role})"
        yield Finding("drawn", "fail", told, mend)
