"""Whether the API lives, and whether it can do its work; no token needed."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text

from services.api.deps import ViewOf

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers; it waits for no thread, which others may have taken."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(session: ViewOf) -> dict[str, str]:
    """The database answers too."""
    session.execute(text("SELECT 1"))
    return {"status": "ready"}
