"""The plan: what the next cycle would ask for and why, approved or struck from by a curator.

A worker computes it, as a cycle would; the page says so meanwhile and looks again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import select as policies
from services.context import Context
from services.cycle import cycles
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import STRIKES, Image, PlanRow
from services.errors import NotFound
from services.models import registry
from services.modes import decision_rows, decisions
from services.report import words
from services.report.page import Outcome
from services.selection import outlook, plans
from services.web import cursors, pictures, render, session
from services.web.cursors import MAX_ROW

router = APIRouter()
MOST_BOXES = 2**31 - 1
SHOWN, TYPICAL, MODES = 8, 2, 40
"""Pictured images and failures of a mode, and modes; the rest is counted."""
ALONE = 300
"""Images of a mode that is shown by itself."""
STRUCK = 30
STEPS, UP_TO = 20, 4
"""Of the slider: steps to the budget of the settings, and how many times that it goes up to."""
Budget = Annotated[int | None, Query(ge=1, le=MOST_BOXES)]
Policy = Annotated[str, Query(max_length=32, pattern="^[a-z0-9_]*$")]
Key = Annotated[str, Query(max_length=64, pattern="^[0-9a-f]*$")]
PlanId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Note = Annotated[str, Form(max_length=2000)]


@dataclass(frozen=True, slots=True)
class Shown:
    """A mode of the plan with those of its images that are shown."""

    mode: dict[str, Any]
    state: Outcome
    kind: str
    share: float
    images: list[tuple[int, dict[str, Any], str]]
    """Place in the plan, what it says, and the name of the image."""


@router.get("/plan")
def plan_page(
    request: Request,
    user: session.UserOf,
    budget: Budget = None,
    policy: Policy = "",
    mode: Key = "",
) -> Response:
    """The plan of this moment; a look at the address asks for nothing."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        lacks = outlook.lacks(opened)
        part = _part(request, opened, user, policy, budget, mode)
        struck = decision_rows.listed(opened, STRUCK, holding=True, kinds=STRIKES)
        names = _names(opened, [row.image_id for row in struck if row.image_id is not None])
    values = {
        **part,
        "lacks": lacks,
        "policies": policies.names(),
        "slider": slider(context.settings.selection.budget_boxes, part["budget"]),
        "struck": struck,
        "names": names,
        "words": decision_rows.IN_WORDS,
    }
    return render.page(request, "plan.html", values, user)


@router.get("/plan/part")
def plan_part(
    request: Request,
    user: session.UserOf,
    budget: Budget = None,
    policy: Policy = "",
    mode: Key = "",
) -> Response:
    """What is known of the plan, for the page that waits for it."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        values = _part(request, opened, user, policy, budget, mode)
    return HTMLResponse(render.text("plan_part.html", values), headers=dict(render.HEADERS))


@router.post("/plan/ask")
def ask_for_plan(
    request: Request,
    user: session.SenderOf,
    budget: Annotated[int | None, Form(ge=1, le=MOST_BOXES)] = None,
    policy: Annotated[str, Form(max_length=32)] = "",
) -> Response:
    """Have it computed, and show where it stands."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        plans.ask(opened, context, policy or None, budget)
    if "hx-request" in request.headers:
        return plan_part(request, user, budget, policy)
    return RedirectResponse(_address(budget, policy), 303)


@router.post("/plan/approve")
def approve_plan(
    request: Request,
    user: session.SenderOf,
    plan_id: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
) -> Response:
    """Start a cycle that asks for exactly this."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        plans.approve(opened, context, plan_id)
    return RedirectResponse("/", 303)


@router.post("/plan/strike")
def strike(
    request: Request,
    user: session.SenderOf,
    plan_id: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
    note: Note = "",
    image: Annotated[str, Form(max_length=64)] = "",
    mode: Annotated[str, Form(max_length=64)] = "",
    back: Annotated[str, Form(max_length=300)] = "/plan",
) -> Response:
    """Take an image or a mode out of this plan and of every later one."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        if image:
            decisions.strike_image(opened, image, note)
        else:
            plans.strike_mode(opened, plan_id, mode, note)
    return RedirectResponse(session.local(back, "/plan"), 303)


@router.get("/pictures/plan/{plan_id}/{rank}")
async def planned_picture(
    request: Request,
    user: session.UserOf,
    plan_id: PlanId,
    rank: Annotated[int, Path(ge=0, le=MAX_ROW)],
) -> Response:
    """An image of a plan with the regions that resemble what hurt."""
    async with request.app.state.drawing:
        context: Context = request.app.state.context
        data = await run_in_threadpool(_drawn, context, plan_id, rank)
    headers = {"Cache-Control": pictures.FOR_GOOD}  # a plan never changes
    return Response(data, media_type="image/jpeg", headers=headers)


def slider(usual: int, now: int) -> dict[str, int]:
    """Bounds of the slider: the budget of the settings is one of its steps."""
    step = max(1, usual // STEPS)
    return {"step": step, "min": usual % step or step, "max": UP_TO * usual, "now": now}


def _part(
    request: Request,
    opened: Session,
    user: session.User,
    policy: str,
    budget: int | None,
    mode: str,
) -> dict[str, Any]:
    """What the part of the page is handed that changes with the plan."""
    context: Context = request.app.state.context
    now = plans.standing(opened, context, policy or None, budget)
    content = now.row.content if now.row is not None else None
    running = cycles.running(opened)
    return {
        "user": user,
        "can_ask": registry.champion(opened) is not None,
        "at_once": running is None,  # else it would be another with every label that comes in
        "now": now,
        "plan": content,
        "modes": [] if now.row is None else _modes(opened, now.row, mode),
        "only": mode,
        "typical": TYPICAL,
        "budget": now.terms.budget_boxes,
        "policy": policy,
        "query": cursors.address("", {"budget": budget, "policy": policy}),
        "address": _address(budget, policy),
    }


def _modes(opened: Session, row: PlanRow, only: str) -> list[Shown]:
    """Modes that something is asked for first; of one alone all images, of the others a few."""
    own: dict[str | None, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for rank, entry in enumerate(row.content["candidates"]):
        own[entry["mode"]].append((rank, entry))
    known = [mode for mode in row.content["modes"] if not only or mode["key"] == only]
    listed = sorted(known, key=lambda mode: -mode["images"])[:MODES]
    others = [key for key in own if key not in {mode["key"] for mode in row.content["modes"]}]
    if others and not only:
        listed.append(_nobodys(own, others))
    shown = {
        mode["key"]: own.get(mode["key"], [])[: ALONE if only else SHOWN]
        if mode["key"]
        else [one for key in others for one in own[key]][:SHOWN]
        for mode in listed
    }
    names = _names(opened, [entry["image"] for part in shown.values() for _, entry in part])
    return [
        Shown(
            mode,
            words.mode_state(mode["state"]) if mode["id"] else Outcome("new", "plain"),
            words.mode_kind(mode["family"], mode["kind"]) if mode["key"] else "",
            mode["boxes"] / max(1, row.content["boxes"]),
            [(rank, one, names.get(one["image"], "")) for rank, one in shown[mode["key"]]],
        )
        for mode in listed
    ]


def _nobodys(own: dict[str | None, list[Any]], keys: list[str | None]) -> dict[str, Any]:
    """What is asked for on no mode's account, as by a policy that covers the pool."""
    entries = [entry for key in keys for _, entry in own[key]]
    return {
        "key": "", "id": None, "name": "no failure mode", "family": "", "kind": "", "label": "",
        "state": "open", "struck": False, "failures": 0, "exemplars": [],
        "images": len(entries), "boxes": sum(entry["cost_boxes"] for entry in entries),
    }  # fmt: skip


def _names(opened: Session, image_ids: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in in_parts(sorted(set(image_ids))):
        query = select(Image.id, Image.name).where(Image.id.in_(part))
        found.update({row[0]: row[1] for row in opened.execute(query)})
    return found


def _address(budget: int | None, policy: str) -> str:
    return cursors.address("/plan", {"budget": budget, "policy": policy})


def _drawn(context: Context, plan_id: str, rank: int) -> bytes:
    # The one entry, picked by the database: all of them are a megabyte, for each picture again.
    picked = select(PlanRow.content[("candidates", rank)]).where(PlanRow.id == plan_id)
    with reading(context.sessions) as opened:
        entry = opened.scalar(picked)
        if entry is None:
            raise NotFound("no such image of a plan")
        image = opened.get_one(Image, entry["image"])
    boxes = [match["box"] for match in entry["matches"]]
    return pictures.matched_jpeg(context, image, boxes, pictures.THUMB_PX)
