"""Pictures on pages: a failure in its frame, drawn at the size that it is shown in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as Ordinal
from fastapi.concurrency import run_in_threadpool

from curation import draw
from curation.kernel import images
from curation.kernel.errors import ImageUnreadable
from curation.kernel.image_headers import orientation_of
from services.context import Context
from services.db.engine import reading
from services.db.tables import AskedExplanation, CandidateRow, FailureRow, Image
from services.errors import NotFound
from services.failures import neighbours
from services.report import pictures
from services.store import drawings
from services.store.sending import sent
from services.store.storage import image_bytes, image_key, open_image
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


@router.get("/pictures/asked/{asked_id}")
async def asked_picture(
    request: Request,
    user: session.UserOf,
    asked_id: str,
    width: Annotated[int, Query(ge=64, le=WIDEST_PX)] = THUMB_PX,
) -> Response:
    """The frame under an answer that somebody asked for."""
    async with request.app.state.drawing:
        context: Context = request.app.state.context
        data = await run_in_threadpool(asked_jpeg, context, asked_id, width)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": KEPT})


@router.get("/pictures/image/{image_id}")
async def whole_picture(request: Request, user: session.UserOf, image_id: str) -> Response:
    """An image to draw on: its bytes, or where no browser reads that format the same as JPEG."""
    return await shown(request, image_id, {"Cache-Control": FOR_GOOD})


async def shown(request: Request, image_id: str, headers: dict[str, str]) -> Response:
    """An image as every browser shows it.

    Args:
        request: to an application whose state has ``context`` and ``drawing``.
        image_id: which.
        headers: of the answer.

    Raises:
        NotFound: there is no such image, or its file is lost.
    """
    context: Context = request.app.state.context
    image = await run_in_threadpool(_image, context, image_id)
    if await run_in_threadpool(_is_shown_as_decoded, context, image):
        key = image_key(context, image)
        return await run_in_threadpool(sent, context, key, headers)
    async with request.app.state.drawing:
        data = await run_in_threadpool(_as_jpeg, context, image)
    return Response(data, media_type="image/jpeg", headers=headers)


def _image(context: Context, image_id: str) -> Image:
    with reading(context.sessions) as opened:
        image = opened.get(Image, image_id)
    if image is None:
        raise NotFound(f"no image {image_id}")
    return image


def _is_shown_as_decoded(context: Context, image: Image) -> bool:
    """Whether every browser shows a file as the detector sees it.

    Not those that are turned by their EXIF data: what browsers make of it depends on the format,
    and boxes are of the upright picture. Of a GIF the first picture counts.
    """
    if not image.file.lower().endswith(FOR_BROWSERS):
        return False
    try:
        return orientation_of(image_bytes(context, image)) == UPRIGHT
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


def asked_jpeg(context: Context, asked_id: str, width_px: int) -> bytes:
    """An answer over its frame, with the failed box or, of an offset, where the box was put.

    Raises:
        NotFound: there is none, it is not answered yet, or a file is lost.
    """
    with reading(context.sessions) as opened:
        asked = opened.get(AskedExplanation, asked_id)
        if asked is None:
            raise NotFound(f"no explanation {asked_id}")
        row = opened.get_one(FailureRow, asked.failure_id)
        image = opened.get_one(Image, row.image_id)
    try:
        frame = open_image(context, image)
        view = pictures.View.whole(frame, min(width_px, frame.shape[1]))
        attribution = drawings.attribution_of(context, row, asked)
        small = draw.overlay(view.crop(frame), attribution)
        marks = drawings.asked_boxes(context, row, asked)
    except FileNotFoundError as error:
        raise NotFound("a file of this failure is missing: restore it from a backup") from error
    boxes = [view.box(box) for box, _, _ in marks]
    colours, texts = [colour for _, colour, _ in marks], [text for _, _, text in marks]
    return images.encode_jpeg(draw.boxes(small, boxes, colours, texts), QUALITY)


@router.get("/pictures/neighbour/{failure_id}/{number}")
async def neighbour_picture(
    request: Request,
    user: session.UserOf,
    failure_id: str,
    number: Annotated[int, Ordinal(ge=0, le=MAX_ROW)],
) -> Response:
    """A pool image with the region that resembles one of the failure."""
    async with request.app.state.drawing:
        context: Context = request.app.state.context
        data = await run_in_threadpool(neighbour_jpeg, context, failure_id, number)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": KEPT})


def neighbour_jpeg(context: Context, failure_id: str, number: int) -> bytes:
    """A neighbour of a failure by its number in the list.

    Raises:
        NotFound: there is none, or its image is lost.
    """
    with reading(context.sessions) as opened:
        found = neighbours.of_failure(opened, failure_id).found
    one = next((each for each in found if each.number == number), None)
    if one is None:
        raise NotFound(f"no neighbour {number} of failure {failure_id}")
    try:
        frame = open_image(context, one.image)
    except FileNotFoundError as error:
        raise NotFound(LOST) from error
    view = pictures.View.whole(frame, min(THUMB_PX, frame.shape[1]))
    x1, y1, x2, y2 = one.box
    box = view.box((x1, y1, x2, y2))
    return images.encode_jpeg(
        draw.boxes(view.crop(frame), [box], [pictures.MATCHED], [""]), QUALITY
    )


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
