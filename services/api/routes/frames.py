"""Field frames: how failures come in."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, File, Form, UploadFile
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.json_schema import SkipJsonSchema
from sqlalchemy.orm import Session

from services.api.deps import IN_A_PLACE_TO_DECODE, ContextOf, RowId, ViewOf
from services.api.schemas import MAX_INT, FrameOut, ObjectIn, ReportIn
from services.api.strict import StrictRoute
from services.context import Context
from services.db.engine import reading
from services.db.tables import Observation
from services.errors import InvalidRequest, NotFound
from services.intake import strict_json
from services.intake.frames import ingest_frame
from services.models import holding

router = APIRouter(tags=["frames"], route_class=StrictRoute)
Pixels: TypeAlias = Annotated[int, Field(ge=1, le=MAX_INT)] | SkipJsonSchema[None]
OBJECTS = TypeAdapter(list[ObjectIn])
REPORTS = TypeAdapter(list[ReportIn])


@router.post(
    "/frames", status_code=201, response_model=FrameOut, dependencies=[IN_A_PLACE_TO_DECODE]
)
def report_frame(
    context: ContextOf,
    file: Annotated[UploadFile, File(description="The image.")],
    objects: Annotated[
        str | SkipJsonSchema[None],
        Form(description='Its truth: `[{"box": [x1,y1,x2,y2], "label": "car"}]`.'),
    ] = None,
    reports: Annotated[
        str | SkipJsonSchema[None],
        Form(description='`[{"kind": "missed" | "false", "box": […], "label": "car"}]`.'),
    ] = None,
    reporter: Annotated[str, Form(max_length=120)] = "",
    group: Annotated[str, Form(max_length=120)] = "",
    width_px: Annotated[Pixels, Form(description="Of the picture that the boxes are of.")] = None,
    height_px: Annotated[Pixels, Form(description="The same.")] = None,
) -> FrameOut:
    """Take in one frame, with its truth or with an operator's report; the same frame is one frame.

    The failures that the champion makes on it are found and explained soon after; `held` says why
    they wait, where they do.
    """
    frame = ingest_frame(
        context,
        file.file.read(),
        file.filename or "frame",
        objects=_parsed("objects", objects, OBJECTS),
        reports=_parsed("reports", reports, REPORTS),
        reporter=reporter,
        group=group,
        source="api",
        said_wh=_size(width_px, height_px),
    )
    with reading(context.sessions) as session:
        return _shown(session, context, frame)


@router.get("/frames/{frame_id:row}", response_model=FrameOut)
def show_frame(frame_id: RowId, session: ViewOf, context: ContextOf) -> FrameOut:
    """One frame."""
    frame = session.get(Observation, frame_id)
    if frame is None:
        raise NotFound(f"no frame {frame_id}")
    return _shown(session, context, frame)


def _shown(session: Session, context: Context, frame: Observation) -> FrameOut:
    held = holding.why_champion_held(session, context.settings)
    return FrameOut.model_validate(frame).model_copy(update={"held": held})


def _size(width_px: int | None, height_px: int | None) -> tuple[int, int] | None:
    if width_px is None and height_px is None:
        return None
    if width_px is None or height_px is None:
        raise InvalidRequest("give both width_px and height_px, or neither")
    return width_px, height_px


def _parsed(field: str, text: str | None, kind: TypeAdapter[Any]) -> list[dict[str, Any]] | None:
    if text is None:
        return None
    try:
        entries = kind.validate_python(strict_json.loads(text, field))
        return [entry.model_dump() for entry in entries]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{field}.{place}: {first['msg']}") from error
