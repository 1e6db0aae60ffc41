"""Settings with where each comes from, and help."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.config.shown import current_settings
from services.web import render, session

router = APIRouter()


@router.get("/settings")
def settings_page(request: Request, user: session.UserOf) -> Response:
    """Every setting of this process; secrets are masked."""
    rows = current_settings(request.app.state.context.settings)
    groups: dict[str, list[object]] = {}
    for row in rows:
        group, dot, _ = row.name.rpartition(".")
        groups.setdefault(group if dot else "", []).append(row)
    return render.page(request, "settings.html", {"groups": groups}, user)


@router.get("/help")
def help_page(request: Request, user: session.UserOf) -> Response:
    """What the pages show."""
    return render.page(request, "help.html", {}, user)
