"""What Prometheus reads."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.api.routes.health import Look
from services.api.strict import StrictRoute
from services.telemetry.exposition import CONTENT_TYPE_PLAIN_0_0_4

router = APIRouter(tags=["health"], route_class=StrictRoute)


@router.get(
    "/metrics",
    response_class=Response,  # of no media type: errors are JSON here too
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Metrics in the text format of Prometheus; the token, or `telemetry.token`, opens it.

    Ask each API process by itself, not through a proxy that spreads requests: those of HTTP are one
    process's own. Parts that do not answer are told by `e2x_part_up`.
    """
    look: Look[bytes] = request.app.state.exposed
    return Response(await look.seen(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
