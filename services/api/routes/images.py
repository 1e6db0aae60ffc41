"""Stored images."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse

from services.api.deps import ContextOf, ViewOf
from services.api.strict import StrictRoute
from services.db.tables import Image
from services.errors import NotFound

router = APIRouter(tags=["images"], route_class=StrictRoute)


@router.get("/images/{image_id}/file", response_class=FileResponse)
def image_file(image_id: str, session: ViewOf, context: ContextOf) -> FileResponse:
    """The bytes of an image, as they came in."""
    image = session.get(Image, image_id)
    if image is None:
        raise NotFound(f"no image {image_id}")
    path = context.project.inside(context.project.images, image.file)
    if not path.is_file():
        raise NotFound(f"the file of image {image_id} is missing: restore it from a backup")
    return FileResponse(path)
