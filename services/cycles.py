"""One turn of the loop as a state machine over rows.

``advance`` is called in the transaction of every event that could move a cycle (a unit done or
parked, a label task answered) and again by the scheduler, so that nothing depends on one message.
It reads counters and moves at most one step; calling it twice changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from services import modes, registry
from services.context import Context
from services.db import units
from services.db.base import utc_now
from services.db.tables import (
    FINISHED_CYCLES,
    OPEN_TASKS,
    TERMINAL,
    Annotation,
    Cycle,
    CycleState,
    Image,
    LabelTask,
    Role,
    TaskState,
    Unit,
    UnitState,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.pipeline import FEEDS_SELECTION

logger = logging.getLogger(__name__)

FULL, RETRAIN = "full", "retrain"


def start(
    session: Session,
    context: Context,
    *,
    kind: str = FULL,
    policy: str | None = None,
    budget_boxes: int | None = None,
    trigger: str = "person",
    seed: int | None = None,
) -> Cycle:
    """Begin a cycle.

    Args:
        session: the caller's transaction.
        context: wiring.
        kind: ``full``, or ``retrain`` on the labels that are there.
        policy: selection policy; None: the setting.
        budget_boxes: boxes to label; None: the setting.
        trigger: who began it: ``person``, ``failures``, ``labels`` or ``cron``.
        seed: of the selection and the training; None: the setting plus the cycle's number.

    Raises:
        Conflict: another cycle runs, or there is no champion.
        InvalidRequest: no policy has this name.
    """
    check_policy(policy or context.settings.selection.policy)
    champion = registry.require_champion(session)
    running = session.scalar(select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES)))
    if running is not None:
        raise Conflict(f"cycle {running} is still running: wait for it or cancel it")
    cycle = Cycle(
        kind=kind,
        policy=policy or context.settings.selection.policy,
        budget_boxes=budget_boxes or context.settings.selection.budget_boxes,
        trigger=trigger,
        champion_id=champion.id,
        state=CycleState.EXPLAINING if kind == FULL else CycleState.TRAINING,
    )
    session.add(cycle)
    session.flush()
    cycle.seed = context.settings.seed + cycle.id if seed is None else seed
    if kind == FULL:
        _ask_pool_scores(session, context, cycle)
    else:
        _ask(session, cycle, "train")
    session.flush()
    advance(session, context, cycle.id)
    return cycle


def check_policy(name: str) -> None:
    """Refuse a policy that is not in the registry.

    Raises:
        InvalidRequest: no policy has this name.
    """
    from curation import select as policies

    if name not in policies.names():
        known = ", ".join(policies.names())
        raise InvalidRequest(f"policy: no selection policy {name!r}; there are {known}")


def find(session: Session, cycle_id: int) -> Cycle:
    """A cycle by number.

    Raises:
        NotFound: there is none.
    """
    cycle = session.get(Cycle, cycle_id)
    if cycle is None:
        raise NotFound(f"no cycle {cycle_id}: see `e2x cycle list`")
    return cycle


def latest(session: Session) -> Cycle | None:
    """The newest cycle."""
    return session.scalar(select(Cycle).order_by(Cycle.id.desc()).limit(1))


def advance(session: Session, context: Context, cycle_id: int) -> None:
    """Move a cycle one step if everything that the step waits for is there."""
    cycle = session.get(Cycle, cycle_id, with_for_update=True)
    if cycle is None or cycle.state in FINISHED_CYCLES:
        return
    dead = _dead_unit(session, cycle)
    if dead is not None:
        _fail(cycle, f"{dead.kind}: {dead.error_code}: {_last_line(dead.error)}")
    elif cycle.state == CycleState.EXPLAINING and not evidence_waiting(session, cycle):
        cycle.state = CycleState.SELECTING
        _ask(session, cycle, "select", _rounds(session, cycle))
    elif cycle.state == CycleState.LABELLING and _labels_are_in(session, cycle):
        _train_or_fail(session, cycle)
    elif cycle.state == CycleState.VERIFYING and not _outstanding(session, cycle):
        _finish(cycle, CycleState.DONE)
    if cycle.state in FINISHED_CYCLES:
        modes.settle(session, context.settings, cycle.id)


def advance_waiting(session: Session, context: Context) -> None:
    """Advance every cycle that runs; what the scheduler calls."""
    running = session.scalars(select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES))).all()
    for cycle_id in running:
        advance(session, context, cycle_id)


def gather_again(cycle: Cycle) -> None:
    """The selection lacks evidence and has asked for it (called by the select stage)."""
    cycle.state = CycleState.EXPLAINING


def begin_labelling(session: Session, context: Context, cycle: Cycle) -> None:
    """The selection is stored; people are asked (called by the select stage)."""
    cycle.state = CycleState.LABELLING
    session.flush()
    if not session.scalar(select(func.count()).where(LabelTask.cycle_id == cycle.id)):
        cycle.error = (
            "nothing to label: no explained failure in a mode to fix, or the pool is empty"
        )
        _finish(cycle, CycleState.DONE)


def begin_gating(session: Session, cycle: Cycle, model_id: str, dataset_id: str) -> None:
    """A challenger is trained (called by the train stage)."""
    cycle.challenger_id, cycle.dataset_version_id = model_id, dataset_id
    cycle.state = CycleState.GATING
    _ask(session, cycle, "gate")


def close(session: Session, cycle: Cycle, promoted: bool) -> None:
    """The gate has decided; after a promotion the field is looked at again."""
    cycle.promoted = promoted
    cycle.state = CycleState.VERIFYING
    session.flush()


def cancel(session: Session, context: Context, cycle_id: int, actor: str) -> Cycle:
    """Stop a cycle; its label tasks close, its labels and models stay.

    Raises:
        Conflict: it has ended already.
    """
    cycle = find(session, cycle_id)
    if cycle.state in FINISHED_CYCLES:
        raise Conflict(f"cycle {cycle_id} is {cycle.state} already")
    for unit in _outstanding(session, cycle):
        unit.state, unit.token, unit.finished_at = UnitState.CANCELLED, unit.token + 1, utc_now()
    _close_tasks(session, cycle)
    cycle.error = f"cancelled by {actor}"
    _finish(cycle, CycleState.CANCELLED)
    modes.settle(session, context.settings, cycle.id)
    return cycle


def _ask(session: Session, cycle: Cycle, kind: str, number: int = 0) -> None:
    units.enqueue(
        session,
        kind,
        f"{kind}:cycle:{cycle.id}:{number}",
        {"cycle": cycle.id, "round": number},
        cycle_id=cycle.id,
    )


def _rounds(session: Session, cycle: Cycle) -> int:
    """How often the selection was asked for."""
    query = select(func.count()).where(Unit.cycle_id == cycle.id, Unit.kind == "select")
    return session.scalar(query) or 0


def _ask_pool_scores(session: Session, context: Context, cycle: Cycle) -> None:
    """The champion looks at every pool image: policies need its detections."""
    pool = list(session.scalars(select(Image.id).where(Image.role == Role.POOL).order_by(Image.id)))
    size = context.settings.selection.batch_images
    for number, first in enumerate(range(0, len(pool), size)):
        units.enqueue(
            session,
            "score_pool",
            f"score_pool:{cycle.id}:{number}",
            {"images": pool[first : first + size], "model": cycle.champion_id, "number": number},
            cycle_id=cycle.id,
        )


def _outstanding(session: Session, cycle: Cycle) -> Sequence[Unit]:
    return session.scalars(
        select(Unit).where(Unit.cycle_id == cycle.id, Unit.state.not_in(TERMINAL))
    ).all()


def _dead_unit(session: Session, cycle: Cycle) -> Unit | None:
    """A parked unit that the cycle cannot do without; one bad image is not such a unit."""
    return session.scalar(
        select(Unit)
        .where(
            Unit.cycle_id == cycle.id,
            Unit.state == UnitState.DEAD,
            Unit.kind.in_(("select", "train", "gate")),
        )
        .limit(1)
    )


def evidence_waiting(session: Session, cycle: Cycle) -> int:
    """Units that a selection of this cycle waits for: its own, and older ones that feed it."""
    return (
        session.scalar(
            select(func.count()).where(
                Unit.state.not_in(TERMINAL),
                or_(
                    Unit.cycle_id == cycle.id,
                    and_(Unit.kind.in_(FEEDS_SELECTION), Unit.created_at <= cycle.created_at),
                ),
            )
        )
        or 0
    )


def _labels_are_in(session: Session, cycle: Cycle) -> bool:
    """Every task is answered, or the budget is spent: costs were estimates, answers are not."""
    if sum(len(one.objects) for one in _answers(session, cycle)) >= cycle.budget_boxes:
        _close_tasks(session, cycle)
        return True
    open_tasks = session.scalar(
        select(func.count()).where(LabelTask.cycle_id == cycle.id, LabelTask.state.in_(OPEN_TASKS))
    )
    return not open_tasks


def _answers(session: Session, cycle: Cycle) -> Sequence[Annotation]:
    return session.scalars(
        select(Annotation)
        .join(LabelTask, LabelTask.annotation_id == Annotation.id)
        .where(LabelTask.cycle_id == cycle.id)
    ).all()


def train_with_what_is_there(session: Session, context: Context, cycle_id: int) -> None:
    """Close the open label tasks of a cycle and retrain on the labels that are in.

    Raises:
        Conflict: the cycle does not wait for labels.
    """
    cycle = find(session, cycle_id)
    if cycle.state != CycleState.LABELLING:
        raise Conflict(f"cycle {cycle_id} is {cycle.state}, it does not wait for labels")
    _close_tasks(session, cycle)
    session.flush()
    advance(session, context, cycle_id)


def _close_tasks(session: Session, cycle: Cycle) -> None:
    for task in session.scalars(
        select(LabelTask).where(LabelTask.cycle_id == cycle.id, LabelTask.state.in_(OPEN_TASKS))
    ):
        task.state, task.token, task.finished_at = TaskState.SKIPPED, task.token + 1, utc_now()
        task.note = "closed: the budget is spent, or the cycle trains with what is there"


def _train_or_fail(session: Session, cycle: Cycle) -> None:
    labelled = _answers(session, cycle)
    cycle.boxes_labelled = sum(len(annotation.objects) for annotation in labelled)
    if not labelled:
        _fail(cycle, "no image was labelled: every task was skipped or rejected")
        return
    cycle.state = CycleState.TRAINING
    _ask(session, cycle, "train")


def _fail(cycle: Cycle, why: str) -> None:
    cycle.error = why
    logger.error("cycle %d failed: %s", cycle.id, why)
    _finish(cycle, CycleState.FAILED)


def _finish(cycle: Cycle, state: CycleState) -> None:
    cycle.state, cycle.finished_at = state, utc_now()


def _last_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1] if lines else ""
