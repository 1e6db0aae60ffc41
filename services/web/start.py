"""The start page: what waits for whom, and how the loop does."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.context import Context
from services.db.engine import reading
from services.modes.trends import STATE_WORDS
from services.report import words
from services.web import figures as counts
from services.web import render, session

router = APIRouter()
BAR, GAP, HIGH, FOOT = 18, 8, 90, 14
"""Of the chart, units of its view."""


def figures(context: Context) -> str:
    """The live part of the page, the same for all who watch."""
    with reading(context.sessions) as opened:
        found = counts.read(opened)
    values = {
        "figures": found,
        "chart": chart(found),
        "modes": [
            (words.mode_state(state), found.modes.get(state, 0), state) for state in STATE_WORDS
        ],
    }
    return render.text("start_live.html", values)


@router.get("/")
def start_page(request: Request, user: session.UserOf) -> Response:
    """The page with its figures of now; they stay alive where scripts run."""
    live = figures(request.app.state.context)
    return render.page(request, "start.html", {"live": render.Markup(live)}, user)


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
