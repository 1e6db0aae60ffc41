"""What starts a cycle or a retraining by itself; looked at by the scheduler.

What has started one starts no other, whatever comes of it: after a cycle that fails, or changes
nothing, the same failures or labels would start the next at every look. Only what has come in since
counts as new. What is refused a start, such as without a holdout, is not spent: it starts one as
soon as the cause is mended.

What is dated in the future was written while a clock was ahead. It counts from its day on; until
then it neither starts anything nor holds anything up.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from croniter import croniter
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from services.config.setting_groups import TriggerSettings
from services.context import Context
from services.cycle import cycles
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import CLOCKS_DIFFER
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    DatasetVersion,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Role,
    Unit,
)
from services.drift import days
from services.errors import Conflict, InvalidRequest
from services.models import registry

logger = logging.getLogger(__name__)

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
STARTED_BY = ("failures", "labels", "drift")
"""Triggers that count what is new; a cron expression waits for its next time in any case."""


def check(context: Context, now: datetime | None = None) -> list[int]:
    """Move what waits, and start what is due.

    Args:
        context: wiring.
        now: the current time; given by tests.

    Returns:
        Numbers of the cycles that were started or sent to training.
    """
    now = now or utc_now()
    rules = context.settings.triggers
    with reading(context.sessions) as session:  # most looks find nothing, and keep nobody waiting
        if cycles.running(session) is None:
            _tell_failed(session, rules, now)
            if _cause(session, rules, now) is None:
                return []
    with context.sessions.begin() as session:  # apart: what has moved stays so if a start fails
        cycles.advance_waiting(session, context)
    try:
        with context.sessions.begin() as session:  # a start locks what comes before a cycle's lock
            running = cycles.running(session)
            if running is not None:
                return _close_labelling(session, context, cycles.hold(session, running))
            return _start_due(session, context, rules, now)
    except (Conflict, InvalidRequest) as refusal:  # every look would fail alike
        _tell_refused(context.project.root, now.date(), str(refusal))
        return []


def _start_due(
    session: Session, context: Context, rules: TriggerSettings, now: datetime
) -> list[int]:
    cause = _cause(session, rules, now)
    if cause is None:
        return []
    kind, trigger = cause
    cycle = cycles.start(session, context, kind=kind, trigger=trigger)
    logger.info("cycle %d started by %s", cycle.id, trigger)
    return [cycle.id]


def _cause(session: Session, rules: TriggerSettings, now: datetime) -> tuple[str, str] | None:
    """What kind of cycle is due, and what starts it; None where none is."""
    if registry.champion(session) is None:
        return None
    if rules.new_failures and new_failures(session) >= rules.new_failures:
        return cycles.FULL, "failures"
    if rules.drift and days.has_drifted(session, _last_full(session, now)):
        return cycles.FULL, "drift"
    if _cron_due(session, cycles.FULL, rules.cycle_cron, rules, now):
        return cycles.FULL, "cron"
    if rules.new_labels and new_labels(session) >= rules.new_labels:
        return cycles.RETRAIN, "labels"
    if _cron_due(session, cycles.RETRAIN, rules.retrain_cron, rules, now):
        return cycles.RETRAIN, "cron"
    return None


def _close_labelling(session: Session, context: Context, cycle: Cycle) -> list[int]:
    """A cycle that need not wait for every answer trains once enough labels are in."""
    enough = context.settings.triggers.new_labels
    if cycle.state != CycleState.LABELLING or context.settings.labels.wait_for_all or not enough:
        return []
    answered = session.scalar(
        select(func.count()).where(
            LabelTask.cycle_id == cycle.id, LabelTask.annotation_id.is_not(None)
        )
    )
    if (answered or 0) < enough:
        return []
    cycles.train_with_what_is_there(session, context, cycle.id)
    return [cycle.id]


def _tell_failed(session: Session, rules: TriggerSettings, now: datetime) -> None:
    """Say once, at the first look after a cycle has failed, why what started it starts none."""
    latest = cycles.latest(session)
    if latest is None or latest.state != CycleState.FAILED or latest.trigger not in STARTED_BY:
        return
    if latest.finished_at and now - _look(rules) < latest.finished_at <= now:
        logger.warning(
            "cycle %d failed (%s): what started it starts none again; mend the cause and redrive "
            "its unit, or start a cycle",
            latest.id,
            latest.error,
        )


def _look(rules: TriggerSettings) -> timedelta:
    return timedelta(seconds=rules.interval_s)


@lru_cache(maxsize=64)
def _tell_refused(project: Path, _day: date, why: str) -> None:
    """Say once a day why nothing is started; looks come every few seconds."""
    logger.warning("%s: a cycle is due and cannot start: %s", project, why)


def new_failures(session: Session) -> int:
    """Explained failures of the champion that came in since the last full cycle began.

    Those that it has taken up since are none of them.
    """
    champion = registry.champion(session)
    if champion is None:
        return 0
    now = utc_now()
    conditions = [
        FailureRow.model_id == champion.id,
        FailureRow.state == FailureState.EXPLAINED,
        FailureRow.mode_id.is_(None),
        FailureRow.created_at <= now,
    ]
    since = _last_full(session, now)
    if since is not None:
        conditions.append(FailureRow.created_at > since)
    return session.scalar(select(func.count()).where(*conditions)) or 0


def _last_full(session: Session, now: datetime) -> datetime | None:
    """When the last full cycle began."""
    return session.scalar(
        select(func.max(Cycle.created_at)).where(
            Cycle.kind == cycles.FULL, Cycle.created_at <= now + CLOCKS_DIFFER
        )
    )


def new_labels(session: Session) -> int:
    """Images that were labelled since the last training was given its labels.

    Of the pool, and field frames that people were asked for.
    """
    champion = registry.champion(session)
    if champion is None:
        return 0
    now = utc_now()
    began = champion.created_at if champion.created_at <= now else LONG_AGO
    since = _last_training(session, now) or began
    answered_frame = and_(Image.role == Role.FIELD, Annotation.cycle_id.is_not(None))
    # By label and not by join: a database may begin that with all images of the pool.
    counts = (
        select(Image.id)
        .where(Image.id == Annotation.image_id, or_(Image.role == Role.POOL, answered_frame))
        .correlate(Annotation)
        .exists()
    )
    return (
        session.scalar(
            select(func.count(func.distinct(Annotation.image_id))).where(
                Annotation.created_at > since, Annotation.created_at <= now, counts
            )
        )
        or 0
    )


def _last_training(session: Session, now: datetime) -> datetime | None:
    """When the last training was given its labels, or was asked for if it did not come so far.

    A dataset version is made as a training begins. What comes in later is not in it, even if the
    model that comes of it is younger.
    """
    version = session.scalar(
        select(func.max(DatasetVersion.created_at)).where(DatasetVersion.created_at <= now)
    )
    asked = session.scalar(
        select(func.max(Unit.created_at)).where(Unit.kind == "train", Unit.created_at <= now)
    )
    return max(filter(None, (version, asked)), default=None)


def _cron_due(
    session: Session, kind: str, expression: str, rules: TriggerSettings, now: datetime
) -> bool:
    """True if the expression fired since the last cycle of this kind, or since the champion.

    Or since the last look, where both are of the future.
    """
    if not expression:
        return False
    champion = registry.require_champion(session)
    since = session.scalar(
        select(func.max(Cycle.created_at)).where(
            Cycle.kind == kind, Cycle.created_at <= now + CLOCKS_DIFFER
        )
    )
    if since is None and champion.created_at <= now:
        since = champion.created_at
    due: datetime = croniter(expression, since or now - _look(rules)).get_next(datetime)
    return due <= now
