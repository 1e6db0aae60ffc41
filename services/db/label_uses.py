"""Which classes the truth names, kept beside the annotations in the same transaction.

Every frame and every answer asks which classes there are. Read from the annotations, that costs as
much as all of them together, while others wait to write: with 20,000 labelled images half a second.
So each image has a row for each class that its newest truth names (:class:`LabelUse`), which a
session writes as it writes annotations, and the distinct names are found by one step of the index
for each name, however many images have it.

Rows and not counters: two writers of different images never meet in one, so that none waits for the
other. :func:`recount` compares them with the annotations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from itertools import chain

from sqlalchemy import CompoundSelect, Select, Table, delete, event, func, insert, select
from sqlalchemy.orm import Session, UOWTransaction, sessionmaker

from services.db.data import Annotation, Image, LabelUse, Role
from services.db.parts import PARAMETERS, in_parts

Use = tuple[str, str, bool, str]
"""Image, label, whether it is of an ignored object, role."""

_TABLE: Table = LabelUse.__table__  # type: ignore[assignment]  # declared as any selectable


def follow(sessions: sessionmaker[Session]) -> None:
    """Make the sessions of a factory write the rows with the annotations that they write."""
    event.listen(sessions, "after_flush", _after_flush)


def labels(session: Session, roles: Collection[Role], *, counted: bool = False) -> set[str]:
    """Names of the classes that the newest truth of images of these roles has.

    Args:
        session: of a factory that :func:`follow` was given.
        roles: of the images, other than field.
        counted: only of objects that are not to be ignored.
    """
    return set(session.scalars(_labels_query(tuple(roles), counted)))


@lru_cache(maxsize=32)
def _labels_query(roles: tuple[Role, ...], counted: bool) -> Select[str] | CompoundSelect[str]:
    """Built once: putting it together takes longer than the database does with it."""
    pairs = [
        (role, ignored) for role in roles for ignored in ((False,) if counted else (False, True))
    ]
    first, *others = (_distinct(*pair, number) for number, pair in enumerate(pairs))
    return first.union(*others) if others else first


def recount(session: Session, *, mend: bool = False) -> int:
    """Compare the rows with the annotations, all of them.

    Args:
        session: one that may write, to mend.
        mend: whether to write the rows that the annotations give.

    Returns:
        Images whose rows are not what their annotations give; 0 but for a fault, or after somebody
        wrote annotations past this program.
    """
    wrong: set[str] = set()
    before = ""
    query = select(Image.id).where(Image.role != Role.FIELD).order_by(Image.id).limit(PARAMETERS)
    while ids := session.scalars(query.where(Image.id > before)).all():
        stored = session.execute(select(_TABLE).where(_TABLE.c.image_id.in_(ids)))
        found = {tuple(row) for row in stored}
        wrong |= {use[0] for use in found ^ set(_uses(session, ids))}
        before = ids[-1]
    if mend:
        _rewrite(session, wrong)
    return len(wrong)


def _after_flush(session: Session, _flush: UOWTransaction) -> None:
    written = chain(session.new, session.dirty, session.deleted)
    images = {row.image_id for row in written if isinstance(row, Annotation)}
    if images:
        _rewrite(session, images)


def _rewrite(session: Session, image_ids: Iterable[str]) -> None:
    """Put the rows of images in the place of those that are there.

    By statements on the table: within a flush a session takes no new objects.
    """
    ids = sorted(image_ids)
    for part in in_parts(ids):
        session.execute(delete(_TABLE).where(_TABLE.c.image_id.in_(part)))
        rows = [dict(zip(_TABLE.c.keys(), use, strict=True)) for use in _uses(session, part)]
        if rows:
            session.execute(insert(_TABLE), rows)


def _uses(session: Session, image_ids: Collection[str]) -> Iterator[Use]:
    """What the newest annotations of images give; nothing for field frames."""
    newest = (
        select(Annotation.image_id, func.max(Annotation.revision).label("revision"))
        .where(Annotation.image_id.in_(image_ids))
        .group_by(Annotation.image_id)
        .subquery()
    )
    found = session.execute(
        select(Annotation.image_id, Annotation.objects, Image.role)
        .join(Image, Image.id == Annotation.image_id)
        .join(
            newest,
            (newest.c.image_id == Annotation.image_id) & (newest.c.revision == Annotation.revision),
        )
        .where(Image.role != Role.FIELD)
    )
    for image_id, objects, role in found:
        named = {(entry["label"], bool(entry.get("ignore"))) for entry in objects}
        yield from ((image_id, label, ignored, role) for label, ignored in sorted(named))


def _distinct(role: Role, ignored: bool, number: int) -> Select[str]:
    """The distinct labels of one role, each found by one step of the index from the one before.

    A plain ``SELECT DISTINCT`` reads every row of the index.
    """
    here = (LabelUse.role == role, LabelUse.ignored == ignored)
    steps = (
        select(func.min(LabelUse.label).label("label"))
        .where(*here)
        .cte(f"labels_{number}", recursive=True)
    )
    following = (
        select(func.min(LabelUse.label)).where(*here, LabelUse.label > steps.c.label)
    ).scalar_subquery()
    steps = steps.union_all(select(following).where(steps.c.label.is_not(None)))
    return select(steps.c.label).where(steps.c.label.is_not(None))
