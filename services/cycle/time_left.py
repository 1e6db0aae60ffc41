"""How far the step of a cycle is, and how long it will take: a range, or that nobody knows yet.

Only the step that runs is told of: how long the next ones take depends on what comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.kernel.rates import rate_range
from services.context import Context
from services.db.base import utc_now
from services.db.tables import (
    FINISHED_CYCLES,
    OPEN_TASKS,
    TERMINAL,
    Cycle,
    CycleState,
    LabelTask,
    Unit,
    UnitState,
)

RECENT = 30
"""Newest ends that the pace is told from: it changes, by more workers or other images."""
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
UNKNOWN = "not known yet"


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """How far a step is.

    Attributes:
        what: is counted: ``units``, ``images`` or ``training steps``.
        done: of them.
        total: of them, as far as is known now.
        low_s: seconds to go at least; None: not known yet.
        high_s: seconds to go at most; None: not known yet.
    """

    what: str
    done: int
    total: int
    low_s: float | None = None
    high_s: float | None = None

    @property
    def words(self) -> str:
        """How long the step still takes, such as ``5 to 10 minutes``."""
        if self.low_s is None or self.high_s is None:
            return UNKNOWN
        return in_words(self.low_s, self.high_s)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "what": self.what,
            "done": self.done,
            "total": self.total,
            "low_s": self.low_s,
            "high_s": self.high_s,
            "words": self.words,
        }


def of(session: Session, context: Context, cycle: Cycle) -> TimeLeft | None:
    """How far the step of a cycle is and how long it still takes; None for one that has ended.

    Args:
        session: of the caller.
        context: whose project has the progress of a training.
        cycle: which.
    """
    if cycle.state in FINISHED_CYCLES:
        return None
    if cycle.state == CycleState.LABELLING:
        return _of_tasks(session, cycle)
    if cycle.state == CycleState.TRAINING:
        training = _of_training(context, cycle)
        if training is not None:
            return training
    return _of_units(session, cycle)


def in_words(low_s: float, high_s: float) -> str:
    """A range of time in one unit, rounded as far as it is known."""
    if high_s < MINUTE_S:
        return "less than a minute"
    for size_s, name in ((DAY_S, "day"), (HOUR_S, "hour"), (MINUTE_S, "minute")):
        if high_s >= 2 * size_s or size_s == MINUTE_S:
            low, high = int(low_s / size_s), max(1, -int(-high_s // size_s))
            many = "s" if high > 1 else ""
            if low < 1:
                return f"at most {high} {name}{many}"
            return f"{low} to {high} {name}{many}" if low < high else f"about {high} {name}{many}"
    raise AssertionError("the last unit takes everything")


def _of_tasks(session: Session, cycle: Cycle) -> TimeLeft:
    """Images that people answer; the budget may be spent before the last one."""
    here = LabelTask.cycle_id == cycle.id
    ended = session.scalars(
        select(LabelTask.finished_at)
        .where(here, LabelTask.state.not_in(OPEN_TASKS), LabelTask.finished_at.is_not(None))
        .order_by(LabelTask.finished_at.desc())
        .limit(RECENT + 1)
    ).all()
    counted = select(func.count()).where(here)
    total = session.scalar(counted) or 0
    waiting = session.scalar(counted.where(LabelTask.state.in_(OPEN_TASKS))) or 0
    begun = session.scalar(select(func.min(LabelTask.leased_at)).where(here))
    pace = _pace(ended, begun or cycle.created_at)
    return TimeLeft("images", total - waiting, total, *_ahead(waiting, pace))


def _of_training(context: Context, cycle: Cycle) -> TimeLeft | None:
    from services.models.training_process import read_progress

    # The folder's name is that of services.models.training.run_name, which would load PyTorch here.
    beat = read_progress(context.project.runs / f"train-cycle-{cycle.id}")
    if not beat or "steps" not in beat:
        return None
    done, total, left_s = int(beat["step"]), int(beat["steps"]), beat.get("eta_s")
    if left_s is None or not left_s > 0 or not 0 < done < total:
        return TimeLeft("training steps", done, total)
    took_s = float(left_s) * done / (total - done)
    return TimeLeft("training steps", done, total, *_ahead(total - done, rate_range(done, took_s)))


def _of_units(session: Session, cycle: Cycle) -> TimeLeft:
    """Units by kind: each kind has a pace of its own, and they may run beside each other or not."""
    here = Unit.cycle_id == cycle.id
    rows = session.execute(
        select(Unit.kind, Unit.state, func.count()).where(here).group_by(Unit.kind, Unit.state)
    ).all()
    total, done = 0, 0
    waiting: dict[str, int] = {}
    for kind, state, count in rows:
        total += count
        if state in TERMINAL:
            done += count
        else:
            waiting[kind] = waiting.get(kind, 0) + count
    lows, highs = [0.0], [0.0]
    for kind, count in waiting.items():
        low_s, high_s = _ahead(count, _pace_of_kind(session, cycle, kind))
        if low_s is None or high_s is None:
            return TimeLeft("units", done, total)
        lows.append(low_s)
        highs.append(high_s)
    if not waiting:
        return TimeLeft("units", done, total)
    return TimeLeft("units", done, total, max(lows), sum(highs))


def _pace_of_kind(session: Session, cycle: Cycle, kind: str) -> tuple[float, float] | None:
    of_kind = (Unit.cycle_id == cycle.id) & (Unit.kind == kind)
    ended = session.scalars(
        select(Unit.finished_at)
        .where(of_kind, Unit.state == UnitState.DONE, Unit.finished_at >= cycle.created_at)
        .order_by(Unit.finished_at.desc())
        .limit(RECENT + 1)
    ).all()
    asked = session.scalar(select(func.min(Unit.created_at)).where(of_kind))
    return _pace(ended, max(asked or cycle.created_at, cycle.created_at))


def _pace(
    ended: Sequence[datetime | None], begun: datetime, now: datetime | None = None
) -> tuple[float, float] | None:
    """Rates that fit the newest ends, the newest first; until now, so that a stall slows it."""
    times = [at for at in ended if at is not None]
    if not times:
        return None
    since, count = (times[-1], len(times) - 1) if len(times) > RECENT else (begun, len(times))
    seconds = ((now or utc_now()) - since).total_seconds()
    return rate_range(count, seconds) if seconds > 0 else None  # a clock was set back


def _ahead(count: int, pace: tuple[float, float] | None) -> tuple[float | None, float | None]:
    """Seconds for so many more, at least and at most."""
    return (None, None) if pace is None else (count / pace[1], count / pace[0])
