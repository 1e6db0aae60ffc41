"""Whether the API lives, and whether it can do its work; no token needed."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from services.api.deps import ContextOf
from services.worker import readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers; it waits for no thread, which others may have taken."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": readiness.Readiness}})
def ready(context: ContextOf) -> JSONResponse:
    """Database, broker, relay and workers do their part; 503 says which does not."""
    seen = readiness.look(context)
    return JSONResponse(readiness.as_json(seen), status_code=200 if seen.ready else 503)
