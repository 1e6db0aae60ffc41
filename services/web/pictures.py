"""Pictures on pages: a failure in its frame, drawn at the size that it is shown in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from curation import draw
from curation.kernel import images
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


@router.get("/pictures/candidate/{candidate_id}")
async def candidate_picture(
    request: Request, user: session.UserOf, candidate_id: Annotated[int, Path(ge=1, le=MAX_ROW)]
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
    try:
        frame = open_image(context, image)
    except FileNotFoundError as error:
        raise NotFound("the file of this image is missing: restore it from a backup") from error
    view = pictures.View.whole(frame, min(width_px, frame.shape[1]))
    regions = [view.box(reason["box"]) for reason in row.reasons if "box" in reason]
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
