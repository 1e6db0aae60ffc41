"""The one place where truth is stored: each time as the next revision of its image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.batches import in_batches
from services.db.tables import Annotation, Image


def hold_images(session: Session, image_ids: Iterable[str]) -> dict[str, Image]:
    """Those of some images that there are, as they are now, locked until the transaction ends.

    In the order of their ids, as by everybody: two who want the same images follow each other.
    """
    session.flush()  # what is read anew would overwrite it
    ids = sorted(set(image_ids))
    found: dict[str, Image] = {}
    for part in in_batches(ids):
        rows = session.scalars(
            select(Image)
            .where(Image.id.in_(part))
            .order_by(Image.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        found.update({row.id: row for row in rows})
    return found


def add(session: Session, annotations: Sequence[Annotation]) -> None:
    """Store truth as the newest revisions of its images; several of one image in their order.

    Args:
        session: the caller's transaction.
        annotations: not in the session; their ``revision`` is set.
    """
    images = sorted({one.image_id for one in annotations})
    hold_images(session, images)  # or two would take the same number
    newest: Counter[str] = Counter()
    for part in in_batches(images):
        rows = session.execute(
            select(Annotation.image_id, func.max(Annotation.revision))
            .where(Annotation.image_id.in_(part))
            .group_by(Annotation.image_id)
        )
        newest.update({row[0]: row[1] for row in rows})
    for one in annotations:
        newest[one.image_id] += 1
        one.revision = newest[one.image_id]
    session.add_all(annotations)
    session.flush()
