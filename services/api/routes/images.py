"""Stored images."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from services.api.deps import ContextOf, ViewOf
from services.api.strict import StrictRoute
from services.db.tables import Image
from services.errors import NotFound
from services.store.sending import sent
from services.store.storage import image_key

router = APIRouter(tags=["images"], route_class=StrictRoute)


@router.get(
    "/images/{image_id}/file",
    response_class=FileResponse,
    responses={307: {"description": "It is at the address in `Location`, for a while."}},
)
def image_file(image_id: str, session: ViewOf, context: ContextOf) -> Response:
    """The bytes of an image, as they came in; from a bucket by a signed URL, if that is set."""
    image = session.get(Image, image_id)
    if image is None:
        raise NotFound(f"no image {image_id}")
    try:
        return sent(context, image_key(context, image))
    except FileNotFoundError as error:
        told = f"the file of image {image_id} is missing: restore it from a backup"
        raise NotFound(told) from error
