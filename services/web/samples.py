"""Drawn samples: a list with filters, one beside what it was made of, and what people decide."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from curation import draw
from curation.kernel import images
from curation.kernel.errors import ImageUnreadable
from services.context import Context
from services.db.engine import reading
from services.db.tables import HarmRow, Image, SampleState
from services.errors import NotFound
from services.report import drawn
from services.report import pictures as framed
from services.store.storage import open_image
from services.synthesis import samples
from services.web import cursors, pictures, render, sample_rows, session
from services.web.cursors import MAX_ROW
from services.web.failures import Text

router = APIRouter()
PAGE = 24
Number = Annotated[int, Path(ge=1, le=MAX_ROW)]
Note = Annotated[str, Form(max_length=2000)]
Action: TypeAlias = Literal["accept", "refuse", "withdraw"]
Part: TypeAlias = Literal["donor", "harm", "mask", "drawn"]
_DO = {"accept": samples.accept, "refuse": samples.refuse}


@router.get("/samples")
def samples_page(
    request: Request,
    user: session.UserOf,
    state: Text = "",
    mode: Text = "",
    cycle: Text = "",
    generator: Text = "",
    before: Annotated[int, Query(ge=0, le=MAX_ROW)] = 0,
) -> Response:
    """A page of samples, the newest first; a form sends an empty field for no filter."""
    context: Context = request.app.state.context
    wanted = sample_rows.Wanted(
        state, sample_rows.number("mode", mode), sample_rows.number("cycle", cycle), generator
    )
    with reading(context.sessions) as opened:
        found = sample_rows.listed(opened, wanted, PAGE + 1, before)
        offered = sample_rows.choices(opened)
    shown = found[:PAGE]
    more = ""
    if len(found) > PAGE:
        more = cursors.address("/samples", wanted.to_dict(), before=shown[-1].row.id)
    values = {
        "rows": shown,
        "wanted": wanted,
        "choices": offered,
        "states": list(SampleState),
        "more": more,
        "enabled": context.settings.synthesis.enabled,
    }
    return render.page(request, "samples.html", values, user)


@router.get("/samples/{sample_id}")
def sample_page(request: Request, user: session.UserOf, sample_id: Number) -> Response:
    """One sample: who made it, from what, with which seed, why it was kept."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        one = sample_rows.shown(opened, sample_id)
        told = samples.told(opened, one.row)
        older, newer = sample_rows.beside(opened, sample_id)
    values = {"one": one, "told": told, "facts": drawn.facts_of(told), "older": older}
    values["newer"] = newer
    return render.page(request, "sample.html", values, user)


@router.post("/samples/withdraw")
def withdraw_many(
    request: Request,
    user: session.SenderOf,
    cycle: Annotated[int | None, Form(ge=1, le=MAX_ROW)] = None,
    generator: Annotated[str | None, Form(min_length=1, max_length=130)] = None,
    note: Note = "",
) -> Response:
    """Take all samples of a cycle, or of a generator, out of further dataset versions."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        samples.withdraw(opened, user.name, note, cycle=cycle, generator=generator)
    wanted = {"state": str(SampleState.WITHDRAWN), "cycle": cycle, "generator": generator}
    return RedirectResponse(cursors.address("/samples", wanted), 303)


@router.post("/samples/{sample_id}/{action}")
def decide(
    request: Request,
    user: session.SenderOf,
    sample_id: Number,
    action: Action,
    note: Note = "",
    back: Annotated[str, Form(max_length=300)] = "",
) -> Response:
    """Keep a sample, refuse it, or take it out; of those that wait, the next one is shown."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        waited = samples.find(opened, sample_id).state == SampleState.DRAWN
        if action == "withdraw":
            samples.withdraw(opened, user.name, note, ids=[sample_id])
        else:
            _DO[action](opened, [sample_id], user.name, note)
        following = sample_rows.next_waiting(opened, sample_id) if waited else None
    if back:
        return RedirectResponse(session.local(back, "/samples"), 303)
    return RedirectResponse(f"/samples/{following or sample_id}", 303)


@router.get("/pictures/sample/{sample_id}/{part}")
async def sample_picture(
    request: Request,
    user: session.UserOf,
    sample_id: Number,
    part: Part,
    width: Annotated[int, Query(ge=64, le=pictures.WIDEST_PX)] = pictures.THUMB_PX,
) -> Response:
    """What a sample was made of: the known object, what hurt, which pixels of it; or itself."""
    async with request.app.state.drawing:
        context: Context = request.app.state.context
        data = await run_in_threadpool(part_jpeg, context, sample_id, part, width)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": pictures.KEPT})


def part_jpeg(context: Context, sample_id: int, part: Part, width_px: int) -> bytes:
    """One of the pictures of a sample, with the box of its object.

    Raises:
        NotFound: there is no such sample, a check has refused it so that there is no picture of
            it, or a file is lost.
    """
    with reading(context.sessions) as opened:
        row = samples.find(opened, sample_id)
        harm = opened.get_one(HarmRow, row.harm_id)
        named = {"donor": row.donor_id, "drawn": row.image_id}.get(part, harm.image_id)
        if named is None:
            raise NotFound(f"sample {row.id} was refused by a check, there is no picture of it")
        image = opened.get_one(Image, named)
    try:
        frame = open_image(context, image)
    except (FileNotFoundError, ImageUnreadable) as error:
        raise NotFound(pictures.LOST) from error
    view = framed.View.whole(frame, min(width_px, frame.shape[1]))
    whose = "harm" if part == "mask" else part
    told = next(one for one in drawn.parts_of(row, harm) if one.of == whose)
    mark = framed.Mark(told.box, told.colour, "" if part == "mask" else told.text)
    if part == "mask":
        from curation.synthesis.masks import mask_of  # loads PyTorch, which no other page needs

        small = framed.regions(view, frame, mask_of(harm.mask)[None], draw.HURTS, [mark])
    else:
        small = framed.frame(view, frame, [mark])
    return images.encode_jpeg(small, pictures.QUALITY)
