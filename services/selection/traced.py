"""Label tasks in the traces of the frames that they repair.

A cycle may have been begun by anybody, long after the frame came in. So the trace of the frame is
told of the task that came of it; a link leads to the selection.
"""

from __future__ import annotations

from sqlalchemy import and_, event, select
from sqlalchemy.orm import Session

from services import tracing
from services.db.base import utc_now
from services.db.tables import CandidateRow, FailureRow, LabelTask, Observation

NAME = "label task"


def tell(session: Session, cycle_id: int) -> None:
    """Write a span for each label task of a cycle that a traced frame asked for, once it is stored.

    Args:
        session: the caller's transaction; where it does not commit there are no spans.
        cycle_id: whose tasks.
    """
    if not tracing.is_on():
        return
    session.flush()
    of_task = and_(
        LabelTask.cycle_id == CandidateRow.cycle_id, LabelTask.image_id == CandidateRow.image_id
    )
    query = (
        select(LabelTask.id, CandidateRow.failure_id, Observation.traceparent)
        .join(CandidateRow, of_task)
        .join(FailureRow, FailureRow.id == CandidateRow.failure_id)
        .join(Observation, Observation.image_id == FailureRow.image_id)
        .where(LabelTask.cycle_id == cycle_id, Observation.traceparent.is_not(None))
    )
    found = session.execute(query).all()
    selection = tracing.current()

    def stored(_: Session) -> None:
        now = utc_now()
        for task, failure, parent in found:
            tracing.record(
                NAME,
                parent=parent,
                started_at=now,
                ended_at=now,
                values={"e2x.task": task, "e2x.failure": failure, "e2x.cycle": cycle_id},
                links=[selection],
            )

    event.listen(session, "after_commit", stored, once=True)
