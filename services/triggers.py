"""What starts a cycle or a retraining by itself; looked at by the scheduler."""

from __future__ import annotations

import logging
from datetime import datetime

from croniter import croniter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import cycles, registry
from services.context import Context
from services.db.base import utc_now
from services.db.tables import (
    FINISHED_CYCLES,
    Annotation,
    Cycle,
    CycleState,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Role,
)
from services.setting_groups import TriggerSettings

logger = logging.getLogger(__name__)


def check(context: Context, now: datetime | None = None) -> list[int]:
    """Move what waits, and start what is due.

    Args:
        context: wiring.
        now: the current time; given by tests.

    Returns:
        Numbers of the cycles that were started or sent to training.
    """
    now = now or utc_now()
    with context.sessions.begin() as session:
        cycles.advance_waiting(session, context)
        if registry.champion(session) is None:
            return []
        running = session.scalar(select(Cycle).where(Cycle.state.not_in(FINISHED_CYCLES)).limit(1))
        if running is not None:
            return _close_labelling(session, context, running)
        return _start_due(session, context, context.settings.triggers, now)


def _start_due(
    session: Session, context: Context, rules: TriggerSettings, now: datetime
) -> list[int]:
    cause = None
    if rules.new_failures and new_failures(session) >= rules.new_failures:
        cause = (cycles.FULL, "failures")
    elif _cron_due(session, cycles.FULL, rules.cycle_cron, now):
        cause = (cycles.FULL, "cron")
    elif rules.new_labels and new_labels(session) >= rules.new_labels:
        cause = (cycles.RETRAIN, "labels")
    elif _cron_due(session, cycles.RETRAIN, rules.retrain_cron, now):
        cause = (cycles.RETRAIN, "cron")
    if cause is None:
        return []
    kind, trigger = cause
    cycle = cycles.start(session, context, kind=kind, trigger=trigger)
    logger.info("cycle %d started by %s", cycle.id, trigger)
    return [cycle.id]


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


def new_failures(session: Session) -> int:
    """Explained failures of the champion that no cycle has taken up."""
    champion = registry.champion(session)
    if champion is None:
        return 0
    return (
        session.scalar(
            select(func.count()).where(
                FailureRow.model_id == champion.id,
                FailureRow.state == FailureState.EXPLAINED,
                FailureRow.mode_id.is_(None),
            )
        )
        or 0
    )


def new_labels(session: Session) -> int:
    """Labelled pool images that no training has seen."""
    champion = registry.champion(session)
    if champion is None:
        return 0
    trained = session.scalar(
        select(func.max(Cycle.finished_at)).where(Cycle.dataset_version_id.is_not(None))
    )
    since = max(champion.created_at, trained or champion.created_at)
    return (
        session.scalar(
            select(func.count(func.distinct(Annotation.image_id)))
            .join(Image, Image.id == Annotation.image_id)
            .where(Image.role == Role.POOL, Annotation.created_at > since)
        )
        or 0
    )


def _cron_due(session: Session, kind: str, expression: str, now: datetime) -> bool:
    """True if the expression fired since the last cycle of this kind, or since the champion."""
    if not expression:
        return False
    champion = registry.require_champion(session)
    since = session.scalar(select(func.max(Cycle.created_at)).where(Cycle.kind == kind))
    due: datetime = croniter(expression, since or champion.created_at).get_next(datetime)
    return due <= now
