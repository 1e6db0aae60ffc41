"""Explanations that people ask for: a row at once, a unit that answers it, its cost beforehand."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from curation.explain import cost
from curation.explain.what import What, can_answer
from services import units
from services.accounts import audit
from services.config.settings import Settings
from services.context import Context
from services.db import actors
from services.db.tables import (
    TAKEN_BACK,
    TERMINAL,
    AskedExplanation,
    FailureRow,
    Model,
    Unit,
    UnitState,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.models import features
from services.store.project_store import store_of
from services.store.storage import key_of

FIRST = 10
"""Priority: a person waits for it, and the loop does not."""
MOST_WAITING = 40
"""Units of all people that may wait at a time: each may take minutes of the loop's workers."""
MOST_KEPT = 100
"""Of one failure: what a page can show."""
MOST_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Wish:
    """One number of the failed box that shall be explained.

    Attributes:
        what: which.
        label: of the class; None: the failure's.
        rival: of the other class, for ``against``.
    """

    what: What = What.CLASS
    label: str | None = None
    rival: str | None = None


def ask(
    session: Session,
    settings: Settings,
    failure_id: str,
    method: str,
    wishes: Sequence[Wish],
    num_samples: int | None = None,
) -> list[AskedExplanation]:
    """Have questions answered by a worker, together and once: what is there is not asked again.

    What failed before is tried again.

    Raises:
        NotFound: there is no such failure.
        InvalidRequest: the method or a class is not known, or the method cannot answer.
        Conflict: the failure is none any more, or too much waits or is kept already.
    """
    failure = _open_failure(session, failure_id)
    model = session.get_one(Model, failure.model_id)
    names, has_features = model.class_names, features.of_model(model) is not None
    size = size_of(settings)
    parameters = _parameters(method, num_samples, size, has_features)
    passes = cost.passes(method, parameters, size, len(wishes))
    assert passes is not None  # a method that has no cost here is not offered
    rows = [
        AskedExplanation(
            failure_id=failure.id,
            question=wish.what,
            label=wish.label or failure.label,
            rival=wish.rival,
            method=method,
            parameters=parameters,
            passes=passes,
            to_score=cost.to_score(method, parameters, size),
            asked_by=actors.current().name,
        )
        for wish in wishes
    ]
    for row in rows:
        _check(row, names)
        row.id = _key(row, settings)
    found, lacking = _stored(session, rows)
    if lacking:
        _have_answered(session, failure, lacking)
        audit.record(
            session,
            "explanation.ask",
            f"failure:{failure.id}",
            method=method,
            questions=[row.question for row in lacking],
        )
    return found


def _open_failure(session: Session, failure_id: str) -> FailureRow:
    failure = session.get(FailureRow, failure_id)
    if failure is None:
        raise NotFound(f"no failure {failure_id}")
    if failure.state in TAKEN_BACK:
        raise Conflict(f"failure {failure_id[:12]} was {failure.state}: nothing is to be explained")
    return failure


def _parameters(
    method: str, num_samples: int | None, size: cost.Size, has_features: bool
) -> dict[str, Any]:
    offered = ", ".join(cost.offered(size, has_features))
    if method not in cost.names():
        raise InvalidRequest(f"no method {method!r}; there are {offered}")
    if why := cost.why_not(method, size, has_features):
        raise InvalidRequest(f"{method} is not offered for failures: {why}; there are {offered}")
    if num_samples is None:
        return {}
    if not cost.takes_samples(method):
        raise InvalidRequest(f"{method} takes no number of samples: leave it out")
    if not 4 <= num_samples <= MOST_SAMPLES:
        raise InvalidRequest(f"num_samples must lie in 4..{MOST_SAMPLES}")
    return {"num_samples": num_samples}


def _check(row: AskedExplanation, names: Sequence[str]) -> None:
    what = What(row.question)
    if not can_answer(row.method, what):
        raise InvalidRequest(
            f"{row.method} explains classes only: ask '{what}' of another method, such as gp_shap"
        )
    if (row.rival is not None) != (what is What.AGAINST) or row.rival == row.label:
        raise InvalidRequest("a rival is another class, and belongs to the question 'against'")
    for name in filter(None, (row.label, row.rival)):
        if name not in names:
            known = ", ".join(names)
            raise InvalidRequest(f"no class {name!r}: the model of this failure knows {known}")


def _key(row: AskedExplanation, settings: Settings) -> str:
    wanted = settings.explanation
    partition = [wanted.num_segments, wanted.segmentation]
    asked = [row.failure_id, row.question, row.label, row.rival, row.method, row.parameters]
    text = json.dumps([*asked, *partition, wanted.kind], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _stored(
    session: Session, rows: Sequence[AskedExplanation]
) -> tuple[list[AskedExplanation], list[AskedExplanation]]:
    """The rows as they are in the database, and those of them that no unit works on."""
    kept = session.scalar(
        select(func.count())
        .select_from(AskedExplanation)
        .where(AskedExplanation.failure_id == rows[0].failure_id)
    )
    found: list[AskedExplanation] = []
    lacking: list[AskedExplanation] = []
    for row in rows:
        there = session.get(AskedExplanation, row.id)
        if there is None and (kept or 0) + len(lacking) >= MOST_KEPT:
            raise Conflict(f"{MOST_KEPT} explanations of this failure are kept: delete some first")
        if there is None:
            try:
                with session.begin_nested():
                    session.add(row)
                there = row
            except IntegrityError:  # somebody asked the same between our look and our insert
                there = session.get_one(AskedExplanation, row.id)
        found.append(there)
        unit = None if there.unit_id is None else session.get(Unit, there.unit_id)
        ended = unit is None or unit.state in (UnitState.DEAD, UnitState.CANCELLED, UnitState.DONE)
        if there.file is None and ended:
            lacking.append(there)
    return found, lacking


def _have_answered(session: Session, failure: FailureRow, rows: Sequence[AskedExplanation]) -> None:
    waiting = session.scalar(
        select(func.count())
        .select_from(Unit)
        .where(Unit.kind == "explain_asked", Unit.state.not_in(TERMINAL))
    )
    if (waiting or 0) >= MOST_WAITING:
        raise Conflict(f"{waiting} explanations are waited for already: ask when some are done")
    payload = {
        "failure": failure.id,
        "image": failure.image_id,
        "model": failure.model_id,
        "asked": [row.id for row in rows],
    }
    unit = units.enqueue(
        session, "explain_asked", f"explain_asked:{uuid.uuid4().hex}", payload, priority=FIRST
    )
    for row in rows:
        row.unit_id, row.scored = unit.id, 0


def remove(context: Context, failure_id: str, asked_id: str) -> None:
    """Delete an explanation that was asked for, with its file.

    Raises:
        NotFound: there is none.
    """
    with context.sessions.begin() as session:
        file = forget(session, failure_id, asked_id)
    if file is not None:
        store_of(context).delete(key_of(context, context.project.explanations, file))


def forget(session: Session, failure_id: str, asked_id: str) -> str | None:
    """Delete an explanation that was asked for; one that is not answered yet is not worked on.

    Returns:
        Its file, to be removed once this transaction is committed.

    Raises:
        NotFound: there is none.
    """
    row = session.get(AskedExplanation, asked_id)
    if row is None or row.failure_id != failure_id:
        raise NotFound(f"no explanation {asked_id} of failure {failure_id}")
    file, unit_id = row.file, row.unit_id
    audit.record(
        session,
        "explanation.delete",
        f"failure:{failure_id}",
        method=row.method,
        questions=[row.question],
    )
    session.execute(delete(AskedExplanation).where(AskedExplanation.id == asked_id))
    others = select(AskedExplanation.id).where(
        AskedExplanation.unit_id == unit_id, AskedExplanation.file.is_(None)
    )
    if file is None and unit_id is not None and session.scalar(others.limit(1)) is None:
        units.cancel(session, unit_id)
    return file


def size_of(settings: Settings) -> cost.Size:
    """What methods are run on."""
    wanted = settings.detector
    return cost.Size(
        settings.explanation.num_segments, wanted.input_height_px, wanted.input_width_px
    )
