"""One turn of the loop as a state machine over rows.

``advance`` is called in the transaction of every event that could move a cycle (a unit done or
parked, a label task answered) and again by the scheduler, so that nothing depends on one message.
It reads counters and moves at most one step; calling it twice changes nothing. Units of a cycle are
asked for and counted in :mod:`services.cycle.cycle_units`, its answers in
:mod:`services.cycle.label_tasks`.

Transactions that lock several rows take the champion's pointer before a cycle, and a cycle before
its label tasks.
"""

from __future__ import annotations

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.accounts import audit
from services.config.policies import walks_pool
from services.context import Context
from services.cycle import cycle_units, drawing, held, holdout, label_tasks
from services.db.base import utc_now
from services.db.tables import FINISHED_CYCLES, Cycle, CycleState
from services.errors import Conflict, InvalidRequest, NotFound
from services.models import datasets, holding, registry
from services.modes import recognise

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
    plan_id: str | None = None,
    anyway: bool = False,
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
        plan_id: the plan that it asks for, see :func:`services.selection.plans.approve`; None: it
            chooses by itself.
        anyway: explain the champion's failures first, where they wait because it finds too little.

    Raises:
        Conflict: another cycle runs, there is no champion, its gate could measure nothing, or its
            failures wait unexplained and the policy chooses by explanations.
        InvalidRequest: no policy has this name.
    """
    check_policy(policy or context.settings.selection.policy)
    champion = registry.require_champion(session, hold=True)  # or two would begin at once
    other = running(session)
    if other is not None:
        raise Conflict(f"cycle {other} is still running: wait for it or cancel it")
    holdout.require(session, champion)  # both kinds end in a gate, after people's work
    if anyway:
        holding.release(session, context.settings, champion)
    elif kind == FULL and plan_id is None:
        held.require(session, context, champion, policy)
    cycle = Cycle(
        kind=kind,
        policy=policy or context.settings.selection.policy,
        budget_boxes=budget_boxes or context.settings.selection.budget_boxes,
        trigger=trigger,
        champion_id=champion.id,
        plan_id=plan_id,
        state=CycleState.EXPLAINING if kind == FULL else CycleState.TRAINING,
    )
    session.add(cycle)
    session.flush()
    cycle.seed = context.settings.seed + cycle.id if seed is None else seed
    if kind == FULL:
        cycle_units.adopt(session, cycle)
        if plan_id is None and walks_pool(
            context.settings, cycle.policy
        ):  # the others say what they want to see
            cycle_units.ask_pool_scores(session, context, cycle)
    else:
        cycle_units.ask(session, cycle, "train")
    audit.record(
        session,
        "cycle.start",
        f"cycle:{cycle.id}",
        kind=kind,
        policy=cycle.policy,
        budget_boxes=cycle.budget_boxes,
        **({} if plan_id is None else {"plan": plan_id}),
    )
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


def running(session: Session) -> int | None:
    """Number of the cycle that runs, None where none does."""
    return session.scalar(select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES)).limit(1))


def hold(session: Session, cycle_id: int) -> Cycle:
    """A cycle as it is now, locked until the caller's transaction ends; it must be there."""
    session.flush()  # what is read anew would overwrite it
    # Locked: two that move a cycle at once would both ask for the work of its next step.
    return session.get_one(Cycle, cycle_id, with_for_update=True, populate_existing=True)


def advance(session: Session, context: Context, cycle_id: int) -> None:
    """Move a cycle one step if everything that the step waits for is there."""
    cycle = hold(session, cycle_id)
    if cycle.state in FINISHED_CYCLES:
        return
    dead = cycle_units.dead_unit(session, cycle)
    if dead is not None:
        _fail(cycle, f"{dead.kind}: {cycle_units.why_dead(dead)}")
    elif cycle.state == CycleState.EXPLAINING and not cycle_units.evidence_waiting(session, cycle):
        cycle.state = CycleState.SELECTING
        cycle_units.ask(session, cycle, "select", cycle_units.asked(session, cycle, "select"))
    elif cycle.state == CycleState.LABELLING and _labels_are_in(session, cycle):
        if not drawing.holds_up(session, context, cycle):
            _train_or_fail(session, cycle)
    elif cycle_units.trains_drawn(cycle) and not cycle_units.is_open(session, cycle, "train_drawn"):
        drawing.go_on_without(session, cycle, "train_drawn")
        _ask_gate(session, cycle)
    elif cycle.state == CycleState.VERIFYING and not cycle_units.outstanding(session, cycle):
        _finish(cycle, CycleState.DONE)
    else:
        _ask_what_is_lost(session, cycle)
    if cycle.state in FINISHED_CYCLES:
        recognise.settle(session, context.settings, cycle.id)


def _ask_what_is_lost(session: Session, cycle: Cycle) -> None:
    """Ask again for the unit of this step, should it be gone: a cycle waits for nothing in vain."""
    kind = cycle_units.ask_again(session, cycle)
    if kind is not None:
        logger.error("cycle %d waited for a unit %r that is gone: asked for again", cycle.id, kind)


def advance_waiting(session: Session, context: Context) -> None:
    """Advance every cycle that runs; what the scheduler calls."""
    unfinished = select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES)).order_by(Cycle.id)
    for cycle_id in session.scalars(unfinished).all():
        advance(session, context, cycle_id)


def gather_again(cycle: Cycle) -> None:
    """The selection lacks evidence and has asked for it (called by the select stage).

    Raises:
        Conflict: the cycle has ended.
    """
    _require_running(cycle)
    cycle.state = CycleState.EXPLAINING


def begin_labelling(session: Session, context: Context, cycle: Cycle, note: str = "") -> None:
    """The selection is stored; people are asked (called by the select stage).

    Args:
        session: the caller's transaction.
        context: wiring.
        cycle: that has selected.
        note: why it asks for nothing, if the selection knows.

    Raises:
        Conflict: the cycle has ended.
    """
    _require_running(cycle)
    cycle.state = CycleState.LABELLING
    drawing.ask(session, context, cycle)
    session.flush()
    if label_tasks.any_asked(session, cycle):
        return
    why = note or "no explained failure in a mode to fix, or the pool is empty"
    cycle.note = f"nothing to label: {why}"
    if not drawing.holds_up(session, context, cycle):
        _train_or_fail(session, cycle)


def begin_drawn_training(
    session: Session, cycle: Cycle, model_id: str, dataset_id: str, drawn_id: str
) -> None:
    """A challenger is trained without drawn samples; one on the version ``drawn_id`` is next.

    Raises:
        Conflict: the cycle has ended.
    """
    _require_running(cycle)
    cycle.challenger_id, cycle.dataset_version_id = model_id, dataset_id
    session.flush()
    drawing.ask_training(session, cycle, drawn_id)


def begin_gating(
    session: Session, cycle: Cycle, model_id: str, dataset_id: str, rival_id: str | None = None
) -> None:
    """A challenger is trained (called by the train stage).

    ``rival_id`` is the challenger without drawn samples, where there are two.

    Raises:
        Conflict: the cycle has ended.
    """
    _require_running(cycle)
    cycle.challenger_id, cycle.dataset_version_id = model_id, dataset_id
    cycle.rival_id = rival_id
    _ask_gate(session, cycle)


def _ask_gate(session: Session, cycle: Cycle) -> None:
    cycle.state = CycleState.GATING
    cycle_units.ask(session, cycle, "gate")


def close(session: Session, cycle: Cycle, promoted: bool) -> None:
    """The gate has decided; after a promotion the field is looked at again.

    Raises:
        Conflict: the cycle has ended.
    """
    _require_running(cycle)
    cycle.promoted = promoted
    cycle.state = CycleState.VERIFYING
    session.flush()


def cancel(session: Session, context: Context, cycle_id: int, actor: str) -> Cycle:
    """Stop a cycle; its label tasks close, its labels and models stay.

    Raises:
        Conflict: it has ended already.
    """
    cycle = find(session, cycle_id)
    _refuse_ended(cycle)
    cycle_units.cancel(session, cycle)  # first: a worker's end takes this order
    cycle = hold(session, cycle_id)
    _refuse_ended(cycle)
    cycle_units.cancel(session, cycle)  # what a stage has asked for that ended in between
    label_tasks.close_tasks(session, cycle, "the cycle was cancelled")
    cycle.error = f"cancelled by {actor}"
    audit.record(session, "cycle.cancel", f"cycle:{cycle.id}")
    _finish(cycle, CycleState.CANCELLED)
    recognise.settle(session, context.settings, cycle.id)
    return cycle


def _refuse_ended(cycle: Cycle) -> None:
    if cycle.state in FINISHED_CYCLES:
        raise Conflict(f"cycle {cycle.id} is {cycle.state} already")


def train_with_what_is_there(session: Session, context: Context, cycle_id: int) -> None:
    """Close the open label tasks of a cycle and retrain on the labels that are in.

    Raises:
        Conflict: the cycle does not wait for labels.
    """
    drawing.stop(session, find(session, cycle_id))  # first: a worker's end takes this order
    cycle = hold(session, cycle_id)
    if cycle.state != CycleState.LABELLING:
        raise Conflict(f"cycle {cycle_id} is {cycle.state}, it does not wait for labels")
    label_tasks.close_tasks(session, cycle, "the cycle trains with what is there")
    audit.record(session, "cycle.train", f"cycle:{cycle.id}")
    session.flush()
    advance(session, context, cycle_id)


def _labels_are_in(session: Session, cycle: Cycle) -> bool:
    """Every task is answered, or the budget is spent: costs were estimates, answers are not."""
    if label_tasks.boxes(session, cycle) >= cycle.budget_boxes:
        label_tasks.close_tasks(session, cycle, "the budget is spent")
        return True
    return not label_tasks.open_tasks(session, cycle)


def _train_or_fail(session: Session, cycle: Cycle) -> None:
    cycle.boxes_labelled = label_tasks.boxes(session, cycle)
    drawing.go_on_without(session, cycle, "synthesize")
    if (
        datasets.fresh_frames(session, cycle.champion_id)  # what has its truth costs no label
        or label_tasks.answers(session, cycle)
        or datasets.new_samples(session, cycle.champion_id)
    ):
        cycle.state = CycleState.TRAINING
        cycle_units.ask(session, cycle, "train")
    elif label_tasks.any_asked(session, cycle):
        _fail(cycle, "no image was labelled: every task was skipped or rejected")
    else:
        cycle.error = drawing.nothing_to_train(session, cycle)
        _finish(cycle, CycleState.DONE)


def _require_running(cycle: Cycle) -> None:
    """Refuse a step of a cycle that has ended: it would go on beside the next.

    Raises:
        Conflict: it has ended.
    """
    if cycle.state in FINISHED_CYCLES:
        raise Conflict(
            f"cycle {cycle.id} is {cycle.state}, this step of it comes too late: "
            "`e2x cycle run` starts another cycle"
        )


def _fail(cycle: Cycle, why: str) -> None:
    cycle.error = why
    logger.error("cycle %d failed: %s", cycle.id, why)
    _finish(cycle, CycleState.FAILED)


def _finish(cycle: Cycle, state: CycleState) -> None:
    cycle.state, cycle.finished_at = state, utc_now()
