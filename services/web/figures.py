"""What the start page counts, each by one statement whatever the number of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.cycle import cycles, time_left
from services.cycle.time_left import TimeLeft
from services.db.base import utc_now
from services.db.tables import (
    OPEN_TASKS,
    TAKEN_BACK,
    Audit,
    Cycle,
    DriftDay,
    FailureRow,
    FailureState,
    LabelTask,
    Model,
    ModelState,
    ModeRow,
    SecondLook,
    TaskState,
)
from services.drift import days as drift
from services.models import holding, registry
from services.report.extra import Tile

DAYS = 14
AP50_TOLERANCE = 0.005
"""Smaller changes come with every training run."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Work that waits for somebody.

    Attributes:
        who: a role, or the machine.
        what: in words.
        count: how much.
        where: address of the page that shows it.
    """

    who: str
    what: str
    count: int
    where: str


@dataclass(frozen=True, slots=True)
class Day:
    """Failures that came in, and that were fixed, on one day in UTC."""

    at: datetime
    found: int
    fixed: int


@dataclass(frozen=True, slots=True)
class RunningCycle:
    """The cycle that runs; ``tasks`` and ``units`` are counts by state."""

    row: Cycle
    tasks: dict[str, int]
    units: dict[str, int]
    left: TimeLeft | None

    @property
    def answered(self) -> int:
        """Label tasks that nobody waits for any more."""
        return sum(count for state, count in self.tasks.items() if state not in OPEN_TASKS)

    @property
    def worked(self) -> int:
        """Units that have ended."""
        return sum(self.units[state] for state in ("done", "dead", "cancelled"))


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything on the start page."""

    waits: list[Waits]
    days: list[Day]
    modes: dict[str, int]
    cycle: RunningCycle | None
    champion: Model | None
    before: Model | None
    tiles: list[Tile] = field(default_factory=list)
    drift: DriftDay | None = None

    @property
    def most(self) -> int:
        """The largest count of a day, for the chart's height."""
        return max((max(day.found, day.fixed) for day in self.days), default=0)


def read(session: Session, context: Context) -> Figures:
    """Count everything."""
    champion = registry.champion(session)
    before = None if champion is None else registry.champion_before(session, champion.id)
    running = cycles.running(session)
    return Figures(
        waits=_waits(session, running),
        days=_days(session),
        modes=_counted(session, select(ModeRow.state, func.count()).group_by(ModeRow.state)),
        cycle=None if running is None else _cycle(session, context, running),
        champion=champion,
        before=before,
        tiles=[] if champion is None or before is None else compared(before, champion),
        drift=next(iter(drift.latest(session, 1)), None),
    )


def _counted(session: Session, query: Any) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(query)}


def _waits(session: Session, running: int | None) -> list[Waits]:
    tasks = select(LabelTask.state, func.count()).where(LabelTask.state.in_(OPEN_TASKS))
    open_tasks = _counted(session, tasks.group_by(LabelTask.state))
    again = session.scalar(
        select(func.count())
        .select_from(LabelTask)
        .join(SecondLook, SecondLook.task_id == LabelTask.id)
        .where(LabelTask.state == TaskState.WAITING)
    )
    again = again or 0
    unseen = session.scalar(
        select(func.count()).where(
            FailureRow.state.in_((FailureState.FOUND, FailureState.EXPLAINED)),
            FailureRow.mode_id.is_(None),
        )
    )
    undecided = session.scalar(
        select(func.count()).where(Model.state.in_((ModelState.CHALLENGER, ModelState.REJECTED)))
    )
    work = units.counts(session)
    wanted = [
        Waits(
            "labellers", "images to label", open_tasks.get(TaskState.WAITING, 0) - again, "/label"
        ),
        Waits("labellers", "answers that wait for a second look", again, "/label"),
        Waits(
            "curators",
            "images that two people saw differently",
            open_tasks.get(TaskState.DISPUTED, 0),
            "/looks",
        ),
        Waits(
            "a better detector",
            "failures that are not explained, since the champion finds too little of the holdout",
            holding.held_back(session),
            "/models",
        ),
        Waits("labellers", "images under way", open_tasks.get(TaskState.LEASED, 0), "/work"),
        Waits("curators", "failures that no cycle has looked at", unseen or 0, "/failures?mode=0"),
        Waits("admins", "models that were not promoted", undecided or 0, "/models"),
        Waits("admins", "parked units of work", work["dead"], "/work?state=dead"),
        Waits("the machine", "units queued or under way", work["queued"] + work["leased"], "/work"),
    ]
    return [one for one in wanted if one.count]


def _days(session: Session) -> list[Day]:
    """The last days, the oldest first; a failure is fixed on the day of its fixer's promotion."""
    midnight = datetime.combine(utc_now().date(), datetime.min.time(), UTC)
    begins = [midnight - timedelta(days=back) for back in reversed(range(DAYS))]
    day = timedelta(days=1)
    # the newest first: most rows are told by the first comparisons
    which = case(
        *((FailureRow.created_at >= begin, number) for number, begin in _backwards(begins)),
        else_=-1,
    ).label("which_day")
    counted = (
        select(which, func.count())
        .where(
            FailureRow.created_at >= begins[0],
            FailureRow.created_at < midnight + day,
            FailureRow.state.not_in(TAKEN_BACK),
        )
        .group_by("which_day")
    )
    found: dict[int, int] = {row[0]: row[1] for row in session.execute(counted)}
    promoted = select(Audit.subject, func.max(Audit.at)).where(
        Audit.action == "promote", Audit.at >= begins[0]
    )
    when = {
        str(subject).removeprefix("model:"): _utc(at)
        for subject, at in session.execute(promoted.group_by(Audit.subject))
    }
    by_model = _counted(
        session,
        select(FailureRow.fixed_by, func.count())
        .where(FailureRow.fixed_by.in_(sorted(when)))
        .group_by(FailureRow.fixed_by),
    )
    fixed = Counter[datetime]()
    for model_id, at in when.items():
        fixed[datetime.combine(at.date(), datetime.min.time(), UTC)] += by_model.get(model_id, 0)
    return [Day(b, found.get(number, 0), fixed[b]) for number, b in enumerate(begins)]


def _backwards(begins: Sequence[datetime]) -> list[tuple[int, datetime]]:
    return list(enumerate(begins))[::-1]


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _cycle(session: Session, context: Context, number: int) -> RunningCycle:
    tasks = select(LabelTask.state, func.count()).where(LabelTask.cycle_id == number)
    row = cycles.find(session, number)
    return RunningCycle(
        row,
        _counted(session, tasks.group_by(LabelTask.state)),
        units.counts(session, number),
        time_left.of(session, context, row),
    )


def compared(before: Model, after: Model) -> list[Tile]:
    """Two models by what is known of both."""
    tiles = []
    for title, role, name, lower, form in (
        ("Holdout AP50", "holdout", "map50", False, ".3f"),
        ("Holdout mAP", "holdout", "map", False, ".3f"),
        ("Holdout objects missed", "holdout", "missed", True, "g"),
        ("False detections in the holdout", "holdout", "false_positives", True, "g"),
        ("Unseen siblings missed", "siblings", "missed", True, "g"),
    ):
        pair = [(model.reports or {}).get(role, {}).get(name) for model in (before, after)]
        if None not in pair:
            least = 0.0 if form == "g" else AP50_TOLERANCE
            tiles.append(
                Tile.compare(title, *pair, lower_is_better=lower, form=form, tolerance=least)
            )
    return tiles
