"""Labels out to other tools and back, as COCO."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from services.api.deps import ContextOf, OfCycle, ViewOf
from services.api.strict import StrictRoute
from services.labeling import coco

router = APIRouter(tags=["labels"], route_class=StrictRoute)


@router.get("/labels/export")
def export_labels(session: ViewOf, cycle_id: OfCycle = None) -> dict[str, Any]:
    """Open tasks as a COCO document with pre-labels; images are at ``/v1/images/ID/file``."""
    document, _images = coco.export_coco(session, cycle_id)
    return document


@router.post("/labels/import")
def import_labels(
    document: dict[str, Any], context: ContextOf, author: str = "import", replace: bool = False
) -> dict[str, Any]:
    """Answer label tasks from a COCO document; what cannot be used is listed, the rest is stored.

    All answers are stored before the cycle goes on. `late` counts those whose cycle had gone on
    without them, which the next dataset version has; `unchanged` those that were stored before.
    With `replace`, another answer to a task that is answered takes the place of the first, at any
    time; `replaced` counts them, and the first stays as an older revision.
    """
    return coco.import_coco(context, document, author, replace).to_dict()
