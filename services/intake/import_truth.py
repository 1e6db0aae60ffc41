"""Labels of an imported source against the truth that is stored: what takes whose place.

Three sides meet at an image: what the source says now, what it said when it was imported last, and
what counts. Where nobody has touched the truth since, the source's takes its place. What a person
has said since, by an answer, a correction or the words about a frame, stays: an import is run by a
habit or a timer, and would undo work that nobody would miss before the next training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.formats import ImportedImage, Problem
from services.db import revisions
from services.db.convert import latest_annotations
from services.db.tables import Annotation, TruthSource
from services.intake.import_files import ImportReport, name_of

AUTHOR = "import"


def store(
    session: Session,
    items: Mapping[str, ImportedImage],
    report: ImportReport,
    *,
    replace_corrections: bool = False,
) -> dict[str, int]:
    """Store the labels of images as revisions of their own where they are new and may count.

    Args:
        session: the caller's transaction, which holds the images.
        items: by image; at most as many as a database takes parameters.
        report: is told what took the place of what, and what stayed.
        replace_corrections: whether the source's labels take the place of a person's, too.

    Returns:
        The revision of each image that counts now.
    """
    said = {image_id: objects_of(item) for image_id, item in items.items()}
    latest = latest_annotations(session, said)
    touched = [one.image_id for one in latest.values() if one.source != TruthSource.IMPORT]
    imported = _newest_imports(session, touched)
    fresh = []
    for image_id, objects in said.items():
        now = latest.get(image_id)
        if now is not None and now.objects == objects:
            continue
        if now is not None and now.source != TruthSource.IMPORT and not replace_corrections:
            report.corrections_kept += 1
            if imported.get(image_id) != objects:
                report.problems.append(_both_changed(items[image_id], now, image_id in imported))
            continue
        report.truths_replaced += now is not None
        fresh.append(
            Annotation(image_id=image_id, objects=objects, author=AUTHOR, source=TruthSource.IMPORT)
        )
    revisions.add(session, fresh)
    newest = {one.image_id: one.revision for one in (*latest.values(), *fresh)}
    return {image_id: newest[image_id] for image_id in said}


def objects_of(item: ImportedImage) -> list[dict[str, Any]]:
    """Labels of an imported image as they are stored."""
    return [
        {"box": [round(float(v), 2) for v in box], "label": label, "ignore": bool(ignore)}
        for box, label, ignore in zip(item.boxes_xyxy, item.labels, item.ignore, strict=True)
    ]


def _newest_imports(session: Session, image_ids: Collection[str]) -> dict[str, list[Any]]:
    """What was imported last for images, of those that an import brought labels for."""
    rows = session.execute(
        select(Annotation.image_id, Annotation.objects)
        .where(Annotation.image_id.in_(image_ids), Annotation.source == TruthSource.IMPORT)
        .order_by(Annotation.revision)
    )
    return {row[0]: row[1] for row in rows}


def _both_changed(item: ImportedImage, now: Annotation, imported: bool) -> Problem:
    """Told of each picture: somebody has to look which of the two is right."""
    who = now.author or "a person"
    what = (
        f"its labels in the source have changed, and {who} has corrected them since they were "
        "imported"
        if imported
        else f"the source says something else than {who} has said"
    )
    return Problem(
        name_of(item),
        f"{what}: the labels of {who} stay; `e2x import … --replace-corrections` takes those of "
        "the source",
        "nothing",
    )
