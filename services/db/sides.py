"""Which groups of field frames teach and which judge, as it is stored.

The one place where a query learns it: dataset versions take in what :func:`is_taught` admits, and
gate and mode states count what :func:`is_judged` admits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from curation.modes.dealing import Side
from services.db.base import utc_now
from services.db.parts import in_parts
from services.db.races import insert_new
from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    FailureRow,
    FailureState,
    FieldSide,
    Image,
    Role,
)


def group_of(image: Image) -> str:
    """What a frame is dealt with: its drive or sequence; a frame of none is a group by itself."""
    return image.group or image.id


def group_name() -> ColumnElement[str]:
    """What :func:`group_of` gives, of the image of the enclosing query."""
    return func.coalesce(func.nullif(Image.group, ""), Image.id)


def is_parent() -> ColumnElement[bool]:
    """Whether the image of the enclosing query is of a group that teaches."""
    return (
        select(FieldSide.group)
        .where(FieldSide.group == group_name(), FieldSide.side == Side.PARENT)
        .correlate(Image)
        .exists()
    )


def is_judged() -> ColumnElement[bool]:
    """Whether the image of the enclosing query may judge: no frame of its group ever taught.

    What has not been dealt yet has not taught either.
    """
    return ~is_parent()


def is_taught() -> ColumnElement[bool]:
    """Whether the image of the enclosing query is trained on once its truth is known.

    Of a group that teaches, the frames that fail or have failed: a drive may hold a thousand
    others, which would teach nothing but that drive.
    """
    failed = (
        select(FailureRow.id)
        .where(FailureRow.image_id == Image.id, FailureRow.state.not_in(TAKEN_BACK))
        .correlate(Image)
        .exists()
    )
    return and_(Image.role == Role.FIELD, is_parent(), failed)


def known(session: Session, groups: Iterable[str]) -> dict[str, Side]:
    """Those of some groups that were dealt, with their sides."""
    names, found = sorted(set(groups)), dict[str, Side]()
    for part in in_parts(names):
        rows = session.execute(
            select(FieldSide.group, FieldSide.side).where(FieldSide.group.in_(part))
        )
        found.update({group: Side(side) for group, side in rows})
    return found


def keep(session: Session, cycle_id: int, sides: Mapping[str, Side]) -> None:
    """Store sides; a group that was dealt before, or by somebody else meanwhile, keeps its own."""
    now = utc_now()
    rows = [
        {"group": group, "side": side.value, "cycle_id": cycle_id, "created_at": now}
        for group, side in sorted(sides.items())
    ]
    if rows:
        insert_new(session, FieldSide, rows, ("group",))


def origins(session: Session, image_ids: Iterable[str]) -> dict[str, str]:
    """The first failure of each of some frames, of those that are failures still."""
    ids, found = sorted(set(image_ids)), dict[str, str]()
    for part in in_parts(ids):
        rows = session.execute(
            select(FailureRow.image_id, FailureRow.id)
            .where(
                FailureRow.image_id.in_(part),
                FailureRow.state.not_in(TAKEN_BACK),
            )
            .order_by(FailureRow.created_at, FailureRow.id)
        )
        for image_id, failure_id in rows:
            found.setdefault(image_id, failure_id)
    return found


@dataclass(frozen=True, slots=True)
class Kept:
    """What must not be trained on, since it would tell a model what its judges ask.

    Attributes:
        images: pool images of a group that judges.
        hashes: perceptual hashes of failing frames that judge; nor their near-duplicates.
    """

    images: frozenset[str] = frozenset()
    hashes: tuple[int, ...] = ()


def kept_for_judges(session: Session, dealt: Mapping[str, Side]) -> Kept:
    """What the judges need to be kept apart, those of earlier cycles included.

    Args:
        session: only read from.
        dealt: sides that are not stored yet, beside others.
    """
    failing = (
        select(FailureRow.id)
        .where(FailureRow.image_id == Image.id, FailureRow.state.not_in(TAKEN_BACK))
        .correlate(Image)
        .exists()
    )
    of_pool = select(Image.id).where(Image.role == Role.POOL)
    of_field = select(Image.perceptual_hash).where(Image.role == Role.FIELD, failing)
    judges = select(FieldSide.group).where(FieldSide.side == Side.JUDGE)
    # The pool by its column, which has an index: only a frame of the field is its own group.
    images = set(session.scalars(of_pool.where(Image.group.in_(judges))))
    hashes = set(session.scalars(of_field.where(group_name().in_(judges))))
    # By name only those that no cycle has stored yet: a few, where all may be many thousands.
    before = known(session, dealt)
    fresh = [one for one, side in dealt.items() if side is Side.JUDGE and one not in before]
    for part in in_parts(sorted(fresh)):
        images |= set(session.scalars(of_pool.where(Image.group.in_(part))))
        hashes |= set(session.scalars(of_field.where(group_name().in_(part))))
    return Kept(frozenset(images), tuple(sorted(int(text, 16) for text in hashes)))


def places_taught(session: Session) -> frozenset[str]:
    """Where failures lie in frames that may not judge."""
    taught = select(FieldSide.group).where(FieldSide.side == Side.PARENT)
    if session.scalar(taught.limit(1)) is None:  # most projects, for most of their life
        return frozenset()
    query = (
        select(FailureRow.place)
        .join(Image, Image.id == FailureRow.image_id)
        .where(group_name().in_(taught))  # looked up once, not for each frame
        .distinct()
    )
    return frozenset(session.scalars(query))


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Failing field frames by what they do.

    Attributes:
        with_truth: teach as they are.
        to_label: teach once they are labelled.
        judges: judge.
        undealt: not dealt yet; they judge until a selection deals them.
    """

    with_truth: int = 0
    to_label: int = 0
    judges: int = 0
    undealt: int = 0

    @property
    def teaching(self) -> int:
        """All that teach."""
        return self.with_truth + self.to_label


def count_frames(session: Session, model_id: str | None = None) -> FrameCounts:
    """Count the frames that fail.

    Args:
        session: only read from.
        model_id: only where this model fails and is not known to be right since; None: of all
            models, fixed ones included.
    """
    conditions: list[ColumnElement[bool]] = [FailureRow.state.not_in(TAKEN_BACK)]
    if model_id is not None:
        conditions += [FailureRow.model_id == model_id, FailureRow.state != FailureState.FIXED]
    failing = select(FailureRow.image_id).where(*conditions)
    has_truth = (
        select(Annotation.id).where(Annotation.image_id == Image.id).correlate(Image).exists()
    )
    frames = (
        select(FieldSide.side.label("side"), has_truth.label("has_truth"))
        .select_from(Image)
        .outerjoin(FieldSide, FieldSide.group == group_name())
        .where(Image.id.in_(failing))
        .subquery()
    )
    query = select(frames.c.side, frames.c.has_truth, func.count())
    counted: Counter[str] = Counter()
    for side, truth, number in session.execute(query.group_by(frames.c.side, frames.c.has_truth)):
        if side == Side.PARENT:
            counted["with_truth" if truth else "to_label"] += number
        else:
            counted["judges" if side == Side.JUDGE else "undealt"] += number
    return FrameCounts(**counted)
