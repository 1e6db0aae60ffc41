"""Labels out to other tools and back, as COCO."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from services.api.deps import NO_ZERO_BYTE, ContextOf, OfCycle, ViewOf
from services.api.strict import StrictRoute
from services.labeling import coco

router = APIRouter(tags=["labels"], route_class=StrictRoute)
LISTS = ("images", "categories", "annotations")
COCO = {
    "required": list(LISTS),
    "properties": {name: {"type": "array", "items": {"type": "object"}} for name in LISTS},
}
"""For the description only; :mod:`services.labeling.coco` reads it."""


@router.get("/labels/export")
def export_labels(session: ViewOf, cycle_id: OfCycle = None) -> dict[str, Any]:
    """Open tasks as a COCO document with pre-labels; images are at ``/v1/images/ID/file``."""
    document, _images = coco.export_coco(session, cycle_id)
    return document


@router.post("/labels/import")
def import_labels(
    document: Annotated[dict[str, Any], Body(json_schema_extra=COCO)],
    context: ContextOf,
    author: Annotated[str, Query(pattern=NO_ZERO_BYTE)] = "import",
    replace: bool = False,
    enclose_rotated: bool = False,
    take_empty: bool = False,
    take_untouched: bool = False,
) -> dict[str, Any]:
    """Answer label tasks from a COCO document; what cannot be used is listed, the rest is stored.

    All answers are stored before the cycle goes on. `late` counts those whose cycle had gone on
    without them, which the next dataset version has; `unchanged` those that were stored before.
    With `replace`, another answer to a task that is answered takes the place of the first, at any
    time; `replaced` counts them, and the first stays as an older revision.

    Images without objects, and those with the pre-labels as they were exported, scores and all, are
    left as they are, unless their `e2x_done` is true: `left_empty` and `left_untouched` name them,
    `take_empty` and `take_untouched` take them for answers. `empty` counts the answers that say
    that nothing is there. A rotated rectangle is refused, or becomes the upright box around it with
    `enclose_rotated`.
    """
    return coco.import_coco(
        context,
        document,
        author,
        replace,
        enclose_rotated=enclose_rotated,
        take_empty=take_empty,
        take_untouched=take_untouched,
    ).to_dict()
