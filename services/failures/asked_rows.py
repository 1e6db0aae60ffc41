"""What people have asked to see explained, how far it is, and what more would cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.explain import cost
from curation.explain.what import What, can_answer
from services.config.settings import Settings
from services.db.tables import (
    AskedExplanation,
    Explanation,
    FailureRow,
    Model,
    Unit,
    UnitState,
)
from services.failures import asked
from services.models import features

MEASURED = 40
"""Of what ran last: so many are looked at for the pace."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One explanation that was asked for, and how far it is.

    Attributes:
        row: as stored.
        state: ``done``, ``waiting``, ``running``, ``failed`` or ``given up``.
        why: it failed, in a line.
    """

    row: AskedExplanation
    state: str
    why: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is still worked on."""
        return self.state in ("waiting", "running")


def of_failure(session: Session, failure_id: str) -> list[Asked]:
    """All that was asked about a failure, the newest last."""
    query = (
        select(AskedExplanation, Unit)
        .outerjoin(Unit, Unit.id == AskedExplanation.unit_id)
        .where(AskedExplanation.failure_id == failure_id)
        .order_by(AskedExplanation.created_at, AskedExplanation.id)
        .limit(asked.MOST_KEPT)
    )
    return [_told(row, unit) for row, unit in session.execute(query)]


def _told(row: AskedExplanation, unit: Unit | None) -> Asked:
    if row.file is not None:
        return Asked(row, "done")
    if unit is None or unit.state in (UnitState.CANCELLED, UnitState.DONE):
        return Asked(row, "given up", "nobody works on it: ask again")
    if unit.state == UnitState.DEAD:
        lines = [line for line in (unit.error or "").splitlines() if line.strip()]
        return Asked(row, "failed", lines[-1] if lines else unit.error_code or "")
    return Asked(row, "running" if unit.state == UnitState.LEASED else "waiting")


@dataclass(frozen=True, slots=True)
class Price:
    """What a method would cost.

    Attributes:
        method: its name.
        passes: of one image through the network, a pass back counted as two; None: it cannot be
            told, and the method is not offered.
        why_not: it is not offered, in a line; nothing where it is.
        seconds: estimated from what ran here; None: nothing has run yet.
        looks_inside: whether it looks at layers rather than masks the image.
        takes_samples: whether a number of samples may be said.
    """

    method: str
    passes: int | None
    seconds: float | None
    looks_inside: bool
    takes_samples: bool
    why_not: str = ""

    @property
    def offered(self) -> bool:
        """Whether it may be asked for."""
        return not self.why_not


def prices(
    session: Session,
    settings: Settings,
    failure: FailureRow,
    wishes: Callable[[str], Sequence[asked.Wish]] = lambda _: [asked.Wish()],
    needed: Sequence[What] = (),
) -> list[Price]:
    """Every method there is, with its cost for all of its questions together, or why not.

    Args:
        session: read from.
        settings: say what methods are run on.
        failure: that is explained.
        wishes: by name of a method, what it would be asked.
        needed: what a method must be able to answer beyond that.
    """
    size, pace = asked.size_of(settings), _pace(session, failure.model_id, settings)
    found = []
    model = session.get_one(Model, failure.model_id)
    has_features = features.of_model(model) is not None
    for method in cost.names():
        questions = wishes(method)
        passes = cost.passes(method, {}, size, len(questions))
        all_of_it = [*needed, *(wish.what for wish in questions)]
        own = pace.get(method, pace.get(""))
        seconds = None if own is None or passes is None else own * passes
        samples = cost.takes_samples(method)
        why_not = cost.why_not(method, size, has_features) or _mute(method, all_of_it)
        found.append(Price(method, passes, seconds, method in cost.LAYERS, samples, why_not))
    return found


def _mute(method: str, asked_for: Sequence[What]) -> str:
    """Why a method cannot answer what is asked."""
    beyond = sorted({what for what in asked_for if not can_answer(method, what)})
    return f"it cannot answer about {', '.join(beyond)}" if beyond else ""


def _pace(session: Session, model_id: str, settings: Settings) -> dict[str, float]:
    """Seconds a pass by method, and under "" for methods that have not run with this model."""
    answered = session.execute(
        select(AskedExplanation.method, AskedExplanation.seconds, AskedExplanation.passes)
        .join(FailureRow, FailureRow.id == AskedExplanation.failure_id)
        .where(FailureRow.model_id == model_id, AskedExplanation.seconds.is_not(None))
        .order_by(AskedExplanation.finished_at.desc())
        .limit(MEASURED)
    ).all()
    by_method: dict[str, list[float]] = {}
    for method, seconds, passes in answered:
        by_method.setdefault(method, []).append((seconds or 0.0) / max(passes, 1))
    found = {method: median(each) for method, each in by_method.items()}
    masked = [pace for method, pace in found.items() if method not in cost.LAYERS]
    rest = masked or _of_the_loop(session, model_id, settings)
    return found | ({"": median(rest)} if rest else {})


def _of_the_loop(session: Session, model_id: str, settings: Settings) -> list[float]:
    """Seconds a pass of what cycles have explained; the failures of a frame share their passes."""
    rows = session.execute(
        select(FailureRow.image_id, Explanation.method, Explanation.parameters, Explanation.seconds)
        .join(FailureRow, FailureRow.id == Explanation.failure_id)
        .where(FailureRow.model_id == model_id)
        .order_by(Explanation.created_at.desc())
        .limit(MEASURED)
    ).all()
    by_image: dict[tuple[str, str], list[tuple[float, dict[str, object]]]] = {}
    for image_id, method, parameters, seconds in rows:
        by_image.setdefault((image_id, method), []).append((seconds, parameters))
    size, found = asked.size_of(settings), []
    for (_, method), each in by_image.items():
        passes = cost.passes(method, each[0][1], size, len(each))
        if passes and (total := sum(seconds for seconds, _ in each)):
            found.append(total / passes)
    return found


def default_price(settings: Settings) -> str:
    """The method that cycles explain by, where people may ask for it; else one like it."""
    method = settings.explanation.method
    offered = cost.offered(asked.size_of(settings))
    return method if method in offered and can_answer(method, What.LEFT) else "gp_shap"
