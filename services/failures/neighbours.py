"""What a failure's regions resemble in the pool: asked for by people, looked up by a worker."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import units
from services.accounts import audit
from services.db import actors
from services.db.parts import in_parts
from services.db.races import insert_new
from services.db.tables import (
    TERMINAL,
    Explanation,
    FailureRow,
    Image,
    Neighbours,
    Unit,
    UnitState,
)
from services.errors import Conflict, NotFound
from services.failures.asked import FIRST

MOST_SHOWN = 32
"""Images at most, the nearest of each region."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A region of a pool image that resembles one of the failure.

    Attributes:
        number: by which its picture is asked for.
        image: that it lies in.
        similarity: under the metric of the index, at most 1.
        region: which of the failure's regions, from 1; 0: the object itself.
        box: px of the image.
    """

    number: int
    image: Image
    similarity: float
    region: int
    box: list[float]

    @property
    def distance(self) -> float:
        """What is left of similarity, 0 for the same."""
        return max(0.0, 1.0 - self.similarity)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look into the pool has come to.

    Attributes:
        state: ``never``, ``waiting``, ``failed`` or ``done``.
        found: the nearest first; those of a former look while another is waited for.
        note: why nothing is found, or why it failed.
    """

    state: str
    found: list[Neighbour]
    note: str = ""


def ask(session: Session, failure_id: str) -> None:
    """Have the pool looked through once more; while that is waited for, asking again is nothing.

    Raises:
        NotFound: there is no such failure.
        Conflict: it is not explained yet.
    """
    if session.get(FailureRow, failure_id) is None:
        raise NotFound(f"no failure {failure_id}")
    explained = select(Explanation.id).where(Explanation.failure_id == failure_id).limit(1)
    if session.scalar(explained) is None:
        raise Conflict("it is not explained yet: there are no regions to look for")
    insert_new(session, Neighbours, [{"failure_id": failure_id}], ("failure_id",))
    row = session.get_one(Neighbours, failure_id, with_for_update=True, populate_existing=True)
    unit = None if row.unit_id is None else session.get(Unit, row.unit_id)
    if unit is not None and unit.state not in TERMINAL:
        return
    key = f"neighbours:{uuid.uuid4().hex}"
    new = units.enqueue(session, "neighbours", key, {"failure": failure_id}, priority=FIRST)
    row.unit_id, row.asked_by = new.id, actors.current().name
    audit.record(session, "neighbours.ask", f"failure:{failure_id}")


def of_failure(session: Session, failure_id: str) -> Looked:
    """What was found, and how far a new look is."""
    one = session.execute(
        select(Neighbours, Unit)
        .outerjoin(Unit, Unit.id == Neighbours.unit_id)
        .where(Neighbours.failure_id == failure_id)
    ).first()
    if one is None:
        return Looked("never", [])
    row, unit = one
    entries = (row.found or [])[:MOST_SHOWN]
    images: dict[str, Image] = {}
    for part in in_parts([entry["image"] for entry in entries]):
        images |= {
            each.id: each for each in session.scalars(select(Image).where(Image.id.in_(part)))
        }
    found = [
        Neighbour(
            number, images[entry["image"]], entry["similarity"], entry["region"], entry["box"]
        )
        for number, entry in enumerate(entries)
        if entry["image"] in images
    ]
    if unit is not None and unit.state not in TERMINAL:
        return Looked("waiting", found, row.note)
    if unit is not None and unit.state == UnitState.DEAD:
        lines = [line for line in (unit.error or "").splitlines() if line.strip()]
        return Looked("failed", found, lines[-1] if lines else "")
    return Looked("done" if row.found is not None else "never", found, row.note)
