"""The start page: what waits for whom, and how the loop does."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.context import Context
from services.cycle import cycles
from services.db.engine import reading
from services.modes.trends import STATE_WORDS
from services.report import words
from services.web import figures as counts
from services.web import render, session

router = APIRouter()
KINDS = LOOKS, LABELS = "look", "label"
BAR, GAP, HIGH, FOOT = 10, 5, 90, 14
"""Of the chart, units of its view."""


def figures(context: Context) -> dict[str, str]:
    """The live part of the page by what its readers may do, from one look at the database."""
    with reading(context.sessions) as opened:
        found = counts.read(opened, context)
    values = {
        "figures": found,
        "chart": chart(found),
        "modes": [
            (words.mode_state(state), found.modes.get(state, 0), state) for state in STATE_WORDS
        ],
    }
    return {
        kind: render.text("start_live.html", {**values, "labels": kind == LABELS}) for kind in KINDS
    }


def kind_of(user: session.User) -> str:
    """Which of the texts of :func:`figures` somebody is shown."""
    return LABELS if user.may("label") else LOOKS


@router.get("/")
def start_page(request: Request, user: session.UserOf) -> Response:
    """The page with its figures of now; they stay alive where scripts run."""
    context: Context = request.app.state.context
    live = figures(context)[kind_of(user)]
    cycle = None
    if user.may("curate"):
        with reading(context.sessions) as opened:
            running = cycles.running(opened)
            cycle = None if running is None else cycles.find(opened, running)
    values = {"live": render.Markup(live), "cycle": cycle}
    return render.page(request, "start.html", values, user)


def chart(found: counts.Figures) -> dict[str, object]:
    """Bars of each day: where they stand and how high they are."""
    top = max(found.most, 1)
    bars = []
    for number, day in enumerate(found.days):
        left = number * (2 * BAR + GAP)
        heights = [round(HIGH * count / top, 1) for count in (day.found, day.fixed)]
        bars.append(
            {
                "day": day,
                "found": {"x": left, "y": HIGH - heights[0], "height": heights[0]},
                "fixed": {"x": left + BAR, "y": HIGH - heights[1], "height": heights[1]},
                "middle": left + BAR,
            }
        )
    width = len(found.days) * (2 * BAR + GAP) - GAP
    return {"bars": bars, "width": width, "height": HIGH + FOOT, "bar": BAR, "top": top}
