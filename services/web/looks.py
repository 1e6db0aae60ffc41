"""Second looks: two answers beside each other, settled by a curator; how well people agree."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from sqlalchemy import func, select

from curation import draw
from curation.kernel import images
from services.context import Context
from services.db.engine import reading
from services.db.tables import Image, LabelTask, LookState, SecondLook
from services.errors import NotFound
from services.labeling import queue, second_look
from services.report import pictures as drawn
from services.store.storage import open_image
from services.web import cursors, pictures, render, session
from services.web.cursors import MAX_ROW

router = APIRouter()
PAGE, WIDE_PX = 50, 900
Number = Annotated[int, Path(ge=1, le=MAX_ROW)]
Side: TypeAlias = Literal["first", "second"]
COLOURS = {"first": draw.TRUTH, "second": drawn.MATCHED}


@router.get("/looks")
def looks_page(
    request: Request, user: session.UserOf, after: Annotated[int, Query(ge=0, le=MAX_ROW)] = 0
) -> Response:
    """What waits to be settled, and agreement by labeller and class."""
    context: Context = request.app.state.context
    query = (
        second_look.to_settle()
        .add_columns(LabelTask, Image.name)
        .join(Image, Image.id == LabelTask.image_id)
        .where(SecondLook.task_id > after)
        .order_by(SecondLook.task_id)
        .limit(PAGE + 1)
    )
    with reading(context.sessions) as opened:
        found = opened.execute(query).all()
        states = opened.execute(
            select(SecondLook.state, func.count()).group_by(SecondLook.state)
        ).all()
        agreed = second_look.agreement(opened)
    shown = found[:PAGE]
    more = cursors.address("/looks", {}, after=shown[-1][0].task_id) if len(found) > PAGE else ""
    values = {
        "rows": shown,
        "more": more,
        "states": {row[0]: row[1] for row in states},
        "all_of": [one for one in agreed if not one.label],
        "by_class": [one for one in agreed if one.label],
        "share": context.settings.labels.second_look,
    }
    return render.page(request, "looks.html", values, user)


@router.get("/looks/{task_id}")
def look_page(request: Request, user: session.UserOf, task_id: Number) -> Response:
    """Two answers to one task."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        look = second_look.find(opened, task_id)
        task = opened.get_one(LabelTask, task_id)
        image = opened.get_one(Image, task.image_id)
    own = user.name.lower() in (look.first_author.lower(), (look.second_author or "").lower())
    values = {
        "look": look,
        "task": task,
        "image": image,
        "differ": list(second_look.disputes(look, context.settings.labels.second_look_iou)),
        "is_open": look.state not in second_look.DECIDED,
        "is_own": own,
        "waiting": LookState.WAITING,
    }
    return render.page(request, "look.html", values, user)


@router.post("/looks/{task_id}/settle")
def settle(
    request: Request,
    user: session.SenderOf,
    task_id: Number,
    taken: Annotated[Literal["first", "second", "reject"], Form()],
    note: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Say which answer is the truth."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        queue.settle(opened, context, task_id, taken, (), note)
    return RedirectResponse("/looks", 303)


@router.get("/pictures/look/{task_id}/{side}")
async def look_picture(
    request: Request, user: session.UserOf, task_id: Number, side: Side
) -> Response:
    """The image with the boxes of one person."""
    async with request.app.state.drawing:
        context: Context = request.app.state.context
        data = await run_in_threadpool(_drawn, context, task_id, side)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": pictures.KEPT})


def _drawn(context: Context, task_id: int, side: Side) -> bytes:
    with reading(context.sessions) as opened:
        look = second_look.find(opened, task_id)
        image = opened.get_one(Image, opened.get_one(LabelTask, task_id).image_id)
    objects = (look.first if side == "first" else look.second) or []
    try:
        frame = open_image(context, image)
    except FileNotFoundError as error:
        raise NotFound(pictures.LOST) from error
    view = drawn.View.whole(frame, min(WIDE_PX, frame.shape[1]))
    boxes = [view.box(one["box"]) for one in objects]
    texts = [str(one["label"]) for one in objects]
    colours = [COLOURS[side]] * len(boxes)
    return images.encode_jpeg(draw.boxes(view.crop(frame), boxes, colours, texts), pictures.QUALITY)
