"""Dataset versions: what each is made of, and what came in since the one before."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import aliased

from services.context import Context
from services.db.engine import reading
from services.db.tables import DatasetVersion, Image, Model
from services.errors import NotFound
from services.models import differences
from services.web import cursors, render, session
from services.web.failures import Text

router = APIRouter()
PAGE = 50
SHOWN = 24
"""Pictures of each list of a comparison."""
OFFERED = 50
"""Versions to compare with, the newest."""


@router.get("/data")
def data_page(request: Request, user: session.UserOf, before: Text = "") -> Response:
    """Versions, the newest first, with the models that were trained on them."""
    context: Context = request.app.state.context
    parent = aliased(DatasetVersion)
    query = (
        select(DatasetVersion, parent)
        .outerjoin(parent, parent.id == DatasetVersion.parent_id)
        .order_by(DatasetVersion.created_at.desc(), DatasetVersion.id.desc())
        .limit(PAGE + 1)
    )
    if before:
        at, identity = cursors.read_time(before)
        same = and_(DatasetVersion.created_at == at, DatasetVersion.id < identity)
        query = query.where(or_(DatasetVersion.created_at < at, same))
    with reading(context.sessions) as opened:
        found = [(version, old) for version, old in opened.execute(query)]
        shown = found[:PAGE]
        trained = select(Model.dataset_version_id, Model.number).where(
            Model.dataset_version_id.in_([version.id for version, _ in shown])
        )
        models: dict[str, list[int]] = {}
        for version_id, number in opened.execute(trained.order_by(Model.number)):
            models.setdefault(str(version_id), []).append(number)
        roles = opened.execute(
            select(Image.role, func.count()).group_by(Image.role).order_by(Image.role)
        ).all()
    more = ""
    if len(found) > PAGE:
        last = shown[-1][0]
        more = cursors.address("/data", {}, before=cursors.by_time(last.created_at, last.id))
    values = {"rows": shown, "models": models, "roles": roles, "more": more}
    return render.page(request, "data.html", values, user)


@router.get("/data/{version}")
def version_page(
    request: Request, user: session.UserOf, version: str, against: Text = ""
) -> Response:
    """One version: what changed since another, and where to download it."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        row = opened.get(DatasetVersion, version)
    if row is None:
        raise NotFound(f"no dataset version {version}")
    try:
        found = differences.between(context, version, against or None)
    except NotFound as error:  # its row says what it was; what it held is lost
        return render.page(request, "version_lost.html", {"row": row, "why": str(error)}, user)
    shown = [*found.added[:SHOWN], *found.removed[:SHOWN], *found.relabelled[:SHOWN]]
    with reading(context.sessions) as opened:
        others = opened.scalars(
            select(DatasetVersion)
            .where(DatasetVersion.id != version)
            .order_by(DatasetVersion.created_at.desc())
            .limit(OFFERED)
        ).all()
        named = select(Image.id, Image.name).where(Image.id.in_(shown))
        names = {one.id: one.name for one in opened.execute(named)}
    lists = [
        (words, ids[:SHOWN], count)
        for words, ids, count in zip(
            ("Came", "Went", "Labelled otherwise"),
            (found.added, found.removed, found.relabelled),
            found.counts,
            strict=True,
        )
    ]
    values = {"row": row, "found": found, "lists": lists, "names": names, "others": others}
    return render.page(request, "version.html", values, user)
