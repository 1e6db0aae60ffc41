"""How many images the loop has gone on without, since they cannot be read: counted in one place.

A file may be lost or damaged after it came in. Work leaves such an image out and says so in its
result; here these results are summed for whoever looks, with what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.batches import in_batches
from services.db.tables import Cycle, Embedding, Model, Unit, UnitState
from services.models import registry

ADVICE = (
    "`e2x doctor --deep` and the logs name them; put the files back from a backup, and what comes "
    "next takes them up again"
)
LOOK = "score_pool"
EMBED = "embed"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Images that could not be read, by what went on without them; one may count in several.

    Attributes:
        embed: pool images that cannot be searched.
        score_pool: pool images that the champion has not looked at.
        train: labelled images that were not trained on.
        evaluate: images of the holdout and the siblings that judged nothing.
    """

    embed: int = 0
    score_pool: int = 0
    train: int = 0
    evaluate: int = 0

    def __bool__(self) -> bool:
        return any(self.to_dict().values())

    def to_dict(self) -> dict[str, int]:
        """Plain JSON types."""
        return asdict(self)

    def words(self) -> str:
        """What a person reads; "" where every image could be read."""
        told = (
            (self.embed, "pool images not searched"),
            (self.score_pool, "pool images not looked at"),
            (self.train, "labelled images not trained on"),
            (self.evaluate, "evaluation images not judged by"),
        )
        return ", ".join(f"{count} {what}" for count, what in told if count)

    def advised(self) -> str:
        """The words and what to do; "" where every image could be read."""
        return f"{self.words()}: they cannot be read; {ADVICE}" if self else ""


def of_model(model: Model) -> Unreadable:
    """What a model was trained and is judged without."""
    reports = (model.reports or {}).values()
    return Unreadable(
        train=len((model.training or {}).get("unreadable", ())),
        evaluate=sum(report.get("unreadable", 0) for report in reports),
    )


def of_cycle(session: Session, cycle: Cycle) -> Unreadable:
    """What a cycle has gone on without so far: its units, and the challenger that it made."""
    return of_cycles(session, [cycle])[cycle.id]


def of_cycles(session: Session, cycles: Iterable[Cycle]) -> dict[int, Unreadable]:
    """The same of several, by cycle."""
    wanted = list(cycles)
    summed = _summed(session, [cycle.id for cycle in wanted])
    made = [cycle.challenger_id for cycle in wanted if cycle.challenger_id is not None]
    models = {
        model.id: of_model(model)
        for some in in_batches(made)
        for model in session.scalars(select(Model).where(Model.id.in_(some)))
    }
    found = {}
    for cycle in wanted:
        model = models.get(cycle.challenger_id or "", Unreadable())
        found[cycle.id] = Unreadable(
            embed=summed.get((cycle.id, EMBED), 0),
            score_pool=summed.get((cycle.id, LOOK), 0),
            train=model.train,
            evaluate=model.evaluate,
        )
    return found


def of_project(session: Session) -> Unreadable:
    """What is missing now: from the search, the newest look at the pool, and the champion."""
    champion = registry.champion(session)
    model = Unreadable() if champion is None else of_model(champion)
    done = (Unit.kind == LOOK, Unit.state == UnitState.DONE)
    newest = session.scalar(select(func.max(Unit.cycle_id)).where(*done))
    looked = {} if newest is None else _summed(session, [newest])
    return Unreadable(
        embed=len(_not_embedded(session)),
        score_pool=looked.get((newest, LOOK), 0),
        train=model.train,
        evaluate=model.evaluate,
    )


def _summed(session: Session, cycle_ids: list[int]) -> dict[tuple[int | None, str], int]:
    """Counts in the results of units, by cycle and kind."""
    count = Unit.result["unreadable"].as_integer()
    found: dict[tuple[int | None, str], int] = {}
    for some in in_batches(cycle_ids):
        rows = session.execute(
            select(Unit.cycle_id, Unit.kind, func.sum(count))
            .where(
                Unit.cycle_id.in_(some),
                Unit.kind.in_((EMBED, LOOK)),
                Unit.state == UnitState.DONE,
            )
            .group_by(Unit.cycle_id, Unit.kind)
        )
        found |= {(row[0], row[1]): int(row[2] or 0) for row in rows}
    return found


def _not_embedded(session: Session) -> set[str]:
    """Images that a unit could not embed and none has embedded since.

    Units of the same images follow each other, at least one a cycle: their sum would count an
    image as often as it was tried.
    """
    payloads: Iterable[dict[str, Any]] = session.scalars(
        select(Unit.payload).where(
            Unit.kind == EMBED,
            Unit.state == UnitState.DONE,
            Unit.result["unreadable"].as_integer() > 0,
        )
    )
    tried = sorted({image for payload in payloads for image in payload["images"]})
    known: set[str] = set()
    for some in in_batches(tried):
        known |= set(
            session.scalars(select(Embedding.image_id).where(Embedding.image_id.in_(some)))
        )
    return set(tried) - known
