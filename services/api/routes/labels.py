"""Labels out to other tools and back, as COCO."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from services.api.deps import ContextOf, OfCycle, SessionOf
from services.labeling import coco

router = APIRouter(tags=["labels"])


@router.get("/labels/export")
def export_labels(session: SessionOf, cycle_id: OfCycle = None) -> dict[str, Any]:
    """Open tasks as a COCO document with pre-labels; images are at ``/v1/images/ID/file``."""
    document, _images = coco.export_coco(session, cycle_id)
    return document


@router.post("/labels/import")
def import_labels(
    document: dict[str, Any], context: ContextOf, author: str = "import"
) -> dict[str, Any]:
    """Answer open tasks from a COCO document; what cannot be used is listed, the rest is stored."""
    report = coco.import_coco(context, document, author)
    return {
        "submitted": report.submitted,
        "boxes": report.boxes,
        "problems": [{"where": one.where, "message": one.message} for one in report.problems],
    }
