"""Failures that a person says are none: dismissed with the operator's reports behind them.

A scan withdraws by itself what corrected truth no longer gives (:mod:`services.failures.findings`).
This is for the rest: an operator's report that was wrong, or an object that nobody need find.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.config.settings import Settings
from services.cycle import cycles
from services.db.tables import (
    TERMINAL,
    Audit,
    FailureRow,
    FailureState,
    Image,
    Observation,
    Unit,
)
from services.errors import NotFound
from services.failures.findings import DISMISSED_FLAG, overlap_of
from services.failures.places import is_false
from services.modes import recognise

ACTION = "dismiss"
"""Of the audit rows; their subject is ``failure:<id>``."""


def dismiss(
    session: Session, settings: Settings, failure_ids: Sequence[str], actor: str, note: str = ""
) -> list[FailureRow]:
    """Take failures back on a person's word; what is dismissed already stays as it is.

    What other models made at the same place goes with them, and so does the operator's report
    that gave them. Later scans bring none of it back; another report does, or truth whose box is
    another.

    Args:
        session: the caller's transaction.
        settings: bounds of the failure modes' states.
        failure_ids: whole ids.
        actor: through which door the person came.
        note: why, for the audit trail.

    Returns:
        Those that were not dismissed before, in the order of their ids.

    Raises:
        NotFound: there is no failure of one of these ids; nothing is dismissed then.
    """
    wanted = sorted(set(failure_ids))
    images = {identity: _find(session, identity).image_id for identity in wanted}
    for image_id in sorted(set(images.values())):  # as scans and senders of the frame do
        session.get_one(Image, image_id, with_for_update=True)
    dismissed = []
    for identity in wanted:
        row = session.get_one(FailureRow, identity, populate_existing=True)
        if row.state != FailureState.DISMISSED:
            _dismiss(session, row, actor, note, settings.failures.iou_threshold)
            dismissed.append(row)
    session.flush()
    if dismissed and not is_under_way(session):
        recognise.settle(session, settings)
    return dismissed


def _find(session: Session, identity: str) -> FailureRow:
    row = session.get(FailureRow, identity)
    if row is None:
        raise NotFound(f"no failure {identity}: see `e2x failures list`")
    return row


def _dismiss(session: Session, row: FailureRow, actor: str, note: str, least_iou: float) -> None:
    there = session.scalars(
        select(FailureRow).where(
            FailureRow.image_id == row.image_id,
            FailureRow.place == row.place,
            FailureRow.state != FailureState.DISMISSED,
        )
    ).all()
    session.add(
        Audit(
            actor=actor,
            action=ACTION,
            subject=f"failure:{row.id}",
            detail={
                "from": row.state,
                "image": row.image_id,
                "same_place": sorted(other.id for other in there if other.id != row.id),
                "reports": _take_back_reports(session, row, least_iou),
                "note": note,
            },
        )
    )
    for other in there:
        other.state, other.fixed_by = FailureState.DISMISSED, None


def _take_back_reports(session: Session, row: FailureRow, least_iou: float) -> list[dict[str, Any]]:
    """Mark the operator's reports that a failure follows from; they stay to be seen.

    Returns:
        Those reports.
    """
    observation = session.scalar(select(Observation).where(Observation.image_id == row.image_id))
    if observation is None:
        return []
    taken = [
        report
        for report in observation.reports
        if not report.get(DISMISSED_FLAG) and _gives(report, row, least_iou)
    ]
    observation.reports = [
        {**report, DISMISSED_FLAG: True} if report in taken else report
        for report in observation.reports
    ]
    return taken


def _gives(report: dict[str, Any], row: FailureRow, least_iou: float) -> bool:
    """Whether a failure follows from a report, as a scan pairs them."""
    if report["label"] != row.label or (report["kind"] == "false") is not is_false(row):
        return False
    if is_false(row):  # the detection that was meant, however loosely its box was drawn
        return overlap_of(report["box"], row.box) >= least_iou
    return row.truth_index is None and report["box"] == row.box


def is_under_way(session: Session) -> bool:
    """Whether the field is being scanned, so that modes would be judged by half of it."""
    scans = select(Unit.id).where(Unit.kind == "scan", Unit.state.not_in(TERMINAL)).limit(1)
    return session.scalar(scans) is not None or cycles.running(session) is not None
