"""What the next cycle would work on, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db import sides
from services.db.tables import (
    FINISHED_CYCLES,
    Annotation,
    Cycle,
    Embedding,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    Role,
    TaskState,
)
from services.errors import Conflict
from services.selection import pool_scores

NO_CHAMPION = (
    "there is no champion: `e2x import FOLDER --role seed`, then `e2x train`; or `e2x models add`"
)

if TYPE_CHECKING:
    from services.context import Context


@dataclass(frozen=True, slots=True)
class Plan:
    """The state of everything that a cycle takes up.

    Attributes:
        champion: its number, None before the first.
        failures_explained: open failures of the champion that selection can use.
        failures_waiting: open ones that are not explained yet.
        failures_by_class: the explained ones.
        pool_images: images in the pool.
        pool_searchable: of these, those in the region index.
        pool_spent: of these, those labelled already or asked for.
        policy: the setting, or what was asked for.
        budget_boxes: the setting, or what was asked for.
        walks_pool: whether the policy needs the champion's eyes on every pool image.
        images_to_look_at: that the champion looks at: all of the pool, or at most so many that the
            index proposes, were each failure a mode of its own.
        minutes_to_look: of one worker, for those that the champion has not seen, as fast as it was
            of late; None where nobody has taken its time yet.
        learn_from_field: the setting: the share of a mode's failing frames that teaches.
        frames_with_truth: of the frames where the champion fails, those that teach as they are.
        frames_to_label: those that teach once they are labelled.
        frames_judging: those that judge.
        frames_undealt: those that the next selection deals.
        unreadable: images that could not be read, by what went on without them.
        lacks: what stands in the way, with what to do.
    """

    champion: int | None
    failures_explained: int
    failures_waiting: int
    failures_by_class: dict[str, int]
    pool_images: int
    pool_searchable: int
    pool_spent: int
    policy: str
    budget_boxes: int
    walks_pool: bool
    images_to_look_at: int
    minutes_to_look: float | None
    learn_from_field: float
    frames_with_truth: int
    frames_to_label: int
    frames_judging: int
    frames_undealt: int
    unreadable: dict[str, int]
    lacks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def read_plan(
    session: Session, context: Context, policy: str | None = None, budget_boxes: int | None = None
) -> Plan:
    """Count what a cycle would take up now; writes nothing.

    Args:
        session: the caller's transaction.
        context: wiring.
        policy: None: the setting.
        budget_boxes: None: the setting.

    Raises:
        InvalidRequest: no policy has this name.
    """
    from services.cycle import unreadable
    from services.cycle.cycles import check_policy
    from services.models import registry

    wanted = context.settings.selection
    policy = policy or wanted.policy
    budget = wanted.budget_boxes if budget_boxes is None else budget_boxes
    check_policy(policy)

    champion = registry.champion(session)
    by_class: dict[str, int] = {}
    waiting = 0
    frames = sides.FrameCounts()
    if champion is not None:
        frames = sides.count_frames(session, champion.id)
        mine = FailureRow.model_id == champion.id
        by_class = _by_class(session, mine, FailureRow.state == FailureState.EXPLAINED)
        waiting = sum(_by_class(session, mine, FailureRow.state == FailureState.FOUND).values())
    pool = session.scalar(select(func.count()).where(Image.role == Role.POOL)) or 0
    searchable = _searchable(session)
    spent = _spent(session)
    running = session.scalar(select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES)).limit(1))
    found = Plan(
        champion=champion.number if champion else None,
        failures_explained=sum(by_class.values()),
        failures_waiting=waiting,
        failures_by_class=by_class,
        pool_images=pool,
        pool_searchable=searchable,
        pool_spent=spent,
        policy=policy,
        budget_boxes=budget,
        **_look(session, context, policy, budget, sum(by_class.values()) + waiting, pool, spent),
        learn_from_field=wanted.learn_from_field,
        frames_with_truth=frames.with_truth,
        frames_to_label=frames.to_label,
        frames_judging=frames.judges,
        frames_undealt=frames.undealt,
        unreadable=unreadable.of_project(session).to_dict(),
        lacks=(),
    )
    failures = found.failures_explained + waiting
    lacking = _lacks(found.champion, failures, pool, spent, running)
    lacking += _unmeasured(session, champion)
    return Plan(**{**found.to_dict(), "lacks": tuple(lacking)})


def _look(
    session: Session,
    context: Context,
    policy: str,
    budget_boxes: int,
    failures: int,
    pool: int,
    spent: int,
) -> dict[str, Any]:
    """What the champion has to look at for a policy."""
    from curation.select.plan import most_looked_at
    from services.config.policies import walks_pool

    walks = walks_pool(context.settings, policy)
    most = pool if walks else min(max(0, pool - spent), most_looked_at(failures, budget_boxes))
    seconds = pool_scores.seconds_an_image(session)
    return {
        "walks_pool": walks,
        "images_to_look_at": most,
        "minutes_to_look": None if seconds is None else round(most * seconds / 60, 1),
    }


def _unmeasured(session: Session, champion: Model | None) -> Iterator[str]:
    from services.cycle import holdout

    if champion is None:
        if not _count(session, Image.id, Image.role == Role.HOLDOUT):
            yield holdout.NO_HOLDOUT
        return
    try:
        holdout.require(session, champion)
    except Conflict as refusal:
        yield str(refusal)


def lacks(session: Session) -> tuple[str, ...]:
    """What stands in the way of a cycle, with what to do; a part of :func:`read_plan`."""
    from services.models import registry

    champion = registry.champion(session)
    states: dict[str, int] = {}
    if champion is not None:
        query = select(FailureRow.state, func.count()).where(FailureRow.model_id == champion.id)
        states = {row[0]: row[1] for row in session.execute(query.group_by(FailureRow.state))}
    running = session.scalar(select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES)).limit(1))
    failures = sum(states.get(one, 0) for one in (FailureState.EXPLAINED, FailureState.FOUND))
    pool = _count(session, Image.id, Image.role == Role.POOL)
    number = None if champion is None else champion.number
    found = _lacks(number, failures, pool, _spent(session), running)
    return (*found, *_unmeasured(session, champion))


def _lacks(
    champion: int | None, failures: int, pool: int, spent: int, running: int | None
) -> list[str]:
    lacks = []
    if running is not None:
        lacks.append(f"cycle {running} still runs: `e2x cycle wait`, or `e2x cycle cancel`")
    if champion is None:
        lacks.append(NO_CHAMPION)
    elif not failures:
        lacks.append("no failure is open: `e2x ingest` brings field frames in")
    if not pool:
        lacks.append("the pool is empty: `e2x import FOLDER --role pool`")
    elif spent >= pool:
        lacks.append("every pool image is labelled or asked for: import more")
    return lacks


def _by_class(session: Session, *conditions: Any) -> dict[str, int]:
    number = func.count()
    query = select(FailureRow.label, number).where(*conditions).group_by(FailureRow.label)
    return {row[0]: row[1] for row in session.execute(query.order_by(number.desc()))}


def _count(session: Session, what: Any, *conditions: Any) -> int:
    return session.scalar(select(func.count(what)).where(*conditions)) or 0


def _searchable(session: Session) -> int:
    """Images in the region index of the encoder that was used last; earlier ones have their own.

    Counted by rows, of which an encoder has one an image: to sort a million ids takes seconds.
    """
    indexed = select(Embedding.encoder_version).where(Embedding.indexed.is_(True))
    encoder = session.scalar(indexed.order_by(Embedding.id.desc()).limit(1))
    rows = select(func.count()).where(
        Embedding.indexed.is_(True), Embedding.encoder_version == encoder
    )
    return session.scalar(rows) or 0


def _spent(session: Session) -> int:
    labelled = select(Annotation.image_id)
    asked = select(LabelTask.image_id).where(LabelTask.state != TaskState.SKIPPED)
    return _count(session, Image.id, Image.role == Role.POOL, Image.id.in_(labelled.union(asked)))
