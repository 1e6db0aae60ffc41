"""Labelling tools: which are connected, news from them, and the pictures that they show."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, SecretStr
from sqlalchemy import select, update

from services.api.deps import ContextOf, SessionOf, ViewOf
from services.api.schemas import Body as Strict
from services.api.schemas import Row
from services.api.strict import StrictRoute
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import Connection, SentTask
from services.labeling.connectors import addresses, connections, standing
from services.web.pictures import shown

router = APIRouter(tags=["labels"], route_class=StrictRoute)
pictures = APIRouter(tags=["images"], route_class=StrictRoute)

Kind = Literal["label-studio", "cvat"]
PICTURE = {
    "Access-Control-Allow-Origin": "*",  # signed, and without cookies: whoever has the address
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "private, max-age=3600",
}


class ToolIn(Strict):
    """A tool to connect."""

    kind: Kind
    url: str = Field(max_length=500)
    token: SecretStr = Field(min_length=8, max_length=4000)
    project: str | None = Field(default=None, max_length=64, description="To adopt; none: made.")
    pictures_url: str | None = Field(
        default=None, max_length=500, description="Where browsers reach this service."
    )
    at_once: int | None = Field(default=None, ge=1, le=5000, description="Tasks there at most.")


class ToolOut(Row):
    """A tool that is connected."""

    id: int
    kind: str
    url: str
    project: str | None
    at_once: int
    pictures_url: str
    counts: dict[str, int] = Field(description="Tasks by where they stand.")
    troubled: int = Field(description="Tasks with an answer that cannot be taken.")
    synced_at: datetime | None
    error: str | None
    notes: list[str]


@router.get("/labels/tools", response_model=list[ToolOut])
def list_tools(session: ViewOf) -> list[dict[str, Any]]:
    """The labelling tools that are connected, and how the exchange with them stands."""
    return standing.of_all(session)


@router.post("/labels/tools", response_model=list[ToolOut])
def connect_tool(body: ToolIn, context: ContextOf) -> list[dict[str, Any]]:
    """Connect a labelling tool; the next exchange, within seconds, makes or finds its project.

    Sent again it changes the token. Another address takes the place of the one before.
    """
    connections.connect(
        context,
        body.kind,
        body.url,
        body.token.get_secret_value(),
        project=body.project,
        pictures_url=body.pictures_url,
        at_once=body.at_once,
    )
    with reading(context.sessions) as session:
        return standing.of_all(session)


@router.delete("/labels/tools/{kind}", status_code=204)
def disconnect_tool(kind: str, context: ContextOf) -> None:
    """Use a tool no more; its tasks go back to the queue, what it has answered stays."""
    connections.disconnect(context, kind)


@router.post("/labels/news")
def news(
    session: SessionOf, body: Annotated[dict[str, Any] | None, Body()] = None
) -> dict[str, int]:
    """Say that a labelling tool has news, as its webhook does; they are pulled within seconds.

    Whatever the body says is not read for answers: those are pulled.
    """
    told = session.execute(update(Connection).where(Connection.active).values(nudged_at=utc_now()))
    return {"tools": told.rowcount}  # type: ignore[attr-defined]


@pictures.get("/i/{signed}/{name}", response_class=Response)
async def signed_picture(signed: str, name: str, request: Request) -> Response:
    """A picture for a labelling tool: by a signed address that expires, from any origin."""
    context: Context = request.app.state.context
    image_id = await run_in_threadpool(_opened, context, signed, name)
    answer = await shown(request, image_id, PICTURE)
    await run_in_threadpool(_loaded, context, addresses.connection_of(signed), image_id)
    return answer


def _opened(context: Context, signed: str, name: str) -> str:
    with reading(context.sessions) as session:
        connection = session.get(Connection, addresses.connection_of(signed))
    return addresses.image_of(connection, signed, name)


def _loaded(context: Context, number: int, image_id: str) -> None:
    """Write down that somebody may have seen a picture, the first time."""
    here = (
        SentTask.connection_id == number,
        SentTask.image_id == image_id,
        SentTask.loaded_at.is_(None),
    )
    with reading(context.sessions) as session:
        if session.scalar(select(SentTask.id).where(*here).limit(1)) is None:
            return
    with context.sessions.begin() as session:
        session.execute(update(SentTask).where(*here).values(loaded_at=utc_now()))
