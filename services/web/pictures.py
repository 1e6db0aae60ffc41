"""Pictures on pages: a failure in its frame, drawn at the size that it is shown in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as Ordinal
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from curation import draw
from curation.kernel import images
from curation.kernel.errors import ImageUnreadable
from curation.kernel.image_headers import orientation_of
from services.context import Context
from services.db.engine import reading
from services.db.tables import CandidateRow, FailureRow, Image
from services.errors import NotFound
from services.report import pictures
from services.store import drawings
from services.store.storage import open_image
from services.web import session
from services.web.cursors import MAX_ROW

router = APIRouter()
WIDEST_PX, THUMB_PX, QUALITY = 2000, 320, 82
WHOLE_QUALITY = 95
FOR_BROWSERS = (".jpg", ".png", ".webp", ".bmp")
UPRIGHT = 1
FOR_GOOD = "private, max-age=86400, immutable"
"""An image is named by the hash of its bytes."""
LOST = "the file of this image is missing: restore it from a backup"
KEPT = "private, max-age=60"
"""Short: a failure that is explained meanwhile looks otherwise."""


@router.get("/pictures/failure/{failure_id}")
async def failure_picture(
    request: Request,
    user: session.UserOf,
    failure_id: str,
    width: Annotated[int, Query(ge=64, le=WIDEST_PX)] = THUMB_PX,
    plain: bool = False,
) -> Response:
    """The frame with the failed box, under its attribution unless it has none or ``plain``."""
    async with request.app.state.drawing:  # who waits here holds no thread
        context: Context = request.app.state.context
        data = await run_in_threadpool(failure_jpeg, context, failure_id, width, plain)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": KEPT})


@router.get("/pictures/image/{image_id}")
async def whole_picture(request: Request, user: session.UserOf, image_id: str) -> Response:
    """An image to draw on: its bytes, or where no browser reads that format the same as JPEG."""
    context: Context = request.app.state.context
    image = await run_in_threadpool(_image, context, image_id)
    path = context.project.inside(context.project.images, image.file)
    if await run_in_threadpool(_is_shown_as_decoded, path):
        return FileResponse(path, headers={"Cache-Control": FOR_GOOD})
    async with request.app.state.drawing:
        data = await run_in_threadpool(_as_jpeg, context, image)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": FOR_GOOD})


def _image(context: Context, image_id: str) -> Image:
    with reading(context.sessions) as opened:
        image = opened.get(Image, image_id)
    if image is None:
        raise NotFound(f"no image {image_id}")
    return image


def _is_shown_as_decoded(path: Path) -> bool:
    """Whether every browser shows a file as the detector sees it.

    Not those that are turned by their EXIF data: what browsers make of it depends on the format,
    and boxes are of the upright picture. Of a GIF the first picture counts.
    """
    if path.suffix.lower() not in FOR_BROWSERS:
        return False
    try:
        return orientation_of(path.read_bytes()) == UPRIGHT
    except FileNotFoundError as error:
        raise NotFound(LOST) from error
    except ImageUnreadable:
        return False  # decoding says what is wrong with it


def _as_jpeg(context: Context, image: Image) -> bytes:
    try:
        return images.encode_jpeg(open_image(context, image), WHOLE_QUALITY)
    except FileNotFoundError as error:
        raise NotFound(LOST) from error


@router.get("/pictures/candidate/{candidate_id}")
async def candidate_picture(
    request: Request, user: session.UserOf, candidate_id: Annotated[int, Ordinal(ge=1, le=MAX_ROW)]
) -> Response:
    """A pool image that was asked for, with the regions that resemble what hurt."""
    async with request.app.state.drawing:
        context: Context = request.app.state.context
        data = await run_in_threadpool(candidate_jpeg, context, candidate_id, THUMB_PX)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": KEPT})


def candidate_jpeg(context: Context, candidate_id: int, width_px: int) -> bytes:
    """A pool image with the regions for which it was found.

    Raises:
        NotFound: there is no such candidate, or its image is lost.
    """
    with reading(context.sessions) as opened:
        row = opened.get(CandidateRow, candidate_id)
        if row is None:
            raise NotFound(f"no candidate {candidate_id}")
        image = opened.get_one(Image, row.image_id)
    return matched_jpeg(
        context, image, [one["box"] for one in row.reasons if "box" in one], width_px
    )


def matched_jpeg(
    context: Context, image: Image, boxes: Sequence[Sequence[float]], width_px: int
) -> bytes:
    """An image with the regions for which it was found, in px of the image.

    Raises:
        NotFound: its file is lost.
    """
    try:
        frame = open_image(context, image)
    except FileNotFoundError as error:
        raise NotFound(LOST) from error
    view = pictures.View.whole(frame, min(width_px, frame.shape[1]))
    regions = [view.box(list(box)) for box in boxes]
    colours, texts = [pictures.MATCHED] * len(regions), [""] * len(regions)
    return images.encode_jpeg(draw.boxes(view.crop(frame), regions, colours, texts), QUALITY)


def failure_jpeg(context: Context, failure_id: str, width_px: int, plain: bool = False) -> bytes:
    """A failure in its frame.

    Args:
        context: wiring.
        failure_id: whole.
        width_px: of the picture; a narrower frame keeps its width.
        plain: without the attribution.

    Raises:
        NotFound: there is no such failure, or its frame or attribution is lost.
    """
    with reading(context.sessions) as opened:
        row = opened.get(FailureRow, failure_id)
        if row is None:
            raise NotFound(f"no failure {failure_id}")
        image = opened.get_one(Image, row.image_id)
        explanation = None if plain else drawings.newest_explanation(opened, row.id)
    try:
        frame = open_image(context, image)
        view = pictures.View.whole(frame, min(width_px, frame.shape[1]))
        mark = pictures.Mark(row.box, draw.DETECTED, drawings.caption(row))
        small = view.crop(frame)
        if explanation is not None:
            small = draw.overlay(small, drawings.attribution_of(context, row, explanation))
    except FileNotFoundError as error:
        raise NotFound("a file of this failure is missing: restore it from a backup") from error
    drawn = draw.boxes(small, [view.box(mark.box)], [mark.colour], [mark.text])
    return images.encode_jpeg(drawn, QUALITY)
