"""Label tasks out to other tools as COCO, and their answers back."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from services.context import Context
from services.db.races import in_transaction
from services.labeling import coco_answers, queue, taking
from services.labeling.coco_answers import How
from services.labeling.coco_export import export_coco as export_coco
from services.labeling.taking import LabelImport as LabelImport


def import_coco(
    context: Context,
    document: Any,
    author: str,
    replace: bool = False,
    *,
    enclose_rotated: bool = False,
    take_empty: bool = False,
    take_untouched: bool = False,
) -> LabelImport:
    """Answer label tasks from a COCO document, all in one transaction.

    Nothing goes on before every answer is in: a cycle whose budget the first ones spend would close
    the tasks of the others. :func:`services.labeling.entries.image_of` says how images are found,
    :mod:`services.labeling.coco_answers` what counts as an answer. An answer to a task that the
    loop has closed already is kept (see :mod:`services.labeling.answers`). One whose boxes are
    wrong, or to a task that somebody else has or has ended, becomes a problem and costs the others
    nothing; no label is stored twice.

    Args:
        context: wiring.
        document: with images and their annotations.
        author: who answers.
        replace: whether another answer to a task that is answered already takes the place of the
            first, also after its cycle has gone on.
        enclose_rotated: whether the upright box around a rotated rectangle will do.
        take_empty: whether images without objects say that nothing is there.
        take_untouched: whether images with the pre-labels as they were exported say that these
            are right.

    Raises:
        AnnotationsInvalid: this is not a COCO document, or it is wrong as a whole.
    """
    how = How(enclose_rotated, take_empty, take_untouched)
    read = coco_answers.read(context, document, how)

    def store(session: Session) -> LabelImport:
        # Anew, should this be done again.
        report = LabelImport(problems=list(read.problems), notes=read.mended.notes())
        if not (read.found or read.problems):
            report.notes += ("nothing to import: the file has no image",)
        tasks = taking.store(session, context.settings.labels, read.found, author, replace, report)
        queue.moved(session, context, *tasks)
        return report

    return in_transaction(context.sessions, store)
