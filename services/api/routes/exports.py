"""Dataset versions, what changed between two, and exports for other tools as zip archives."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from services.api.deps import MAX_ROW, ContextOf, Limit, ViewOf, Word
from services.api.schemas import Page
from services.api.schemas_looks import DatasetOut, DiffOut
from services.api.strict import StrictRoute
from services.db.tables import DatasetVersion
from services.labeling import exports
from services.models import differences
from services.store.zip_stream import zipped

router = APIRouter(tags=["data"], route_class=StrictRoute)
ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A zip archive.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
FormatOf = Annotated[
    Literal["coco", "yolo", "voc"], Query(alias="format", description="Of the labels.")
]
WithImages = Annotated[bool, Query(description="Whether the pictures are in it too.")]


@router.get("/datasets", response_model=Page[DatasetOut])
def list_datasets(session: ViewOf, limit: Limit = 100) -> Page[DatasetOut]:
    """The newest dataset versions."""
    rows = session.scalars(
        select(DatasetVersion)
        .order_by(DatasetVersion.created_at.desc(), DatasetVersion.id.desc())
        .limit(limit)
    )
    return Page(items=[DatasetOut.model_validate(row) for row in rows])


@router.get("/datasets/{version}/diff", response_model=DiffOut)
def show_diff(
    version: str,
    context: ContextOf,
    against: Annotated[Word, Query(description="Another version; without: its parent.")] = None,
) -> DiffOut:
    """What came, went or is labelled otherwise since another version; of images the first 500."""
    found = differences.between(context, version, against)
    return DiffOut(**found.to_dict(500))


@router.get("/exports/datasets/{version}", response_class=StreamingResponse, responses=ZIP)
def export_dataset(
    version: str, context: ContextOf, fmt: FormatOf = "coco", images: WithImages = True
) -> StreamingResponse:
    """A dataset version as a zip archive, sent as it is made; `latest` is the newest."""
    row = exports.find_version(context, version)
    return _sent(exports.dataset(context, row, fmt, images))


@router.get("/exports/failures", response_class=StreamingResponse, responses=ZIP)
def export_failures(
    context: ContextOf,
    fmt: FormatOf = "coco",
    images: WithImages = True,
    maps: Annotated[bool, Query(description="Whether COCO has their maps as pictures.")] = True,
    state: Word = None,
    model: Annotated[int | None, Query(ge=1, le=MAX_ROW, description="Number.")] = None,
    mode: Annotated[int | None, Query(ge=1, le=MAX_ROW)] = None,
) -> StreamingResponse:
    """Failures in their frames as a zip archive; as COCO with kind, regions and maps."""
    wanted = exports.Wanted(state, model, mode)
    return _sent(exports.failures(context, wanted, fmt, images, maps))


def _sent(export: exports.Export) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{export.name}.zip"'}
    return StreamingResponse(zipped(export.members), media_type="application/zip", headers=headers)
