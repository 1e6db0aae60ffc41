"""Models: the registry, one against the champion, promoting, pinning and rolling back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.context import Context
from services.db.engine import reading
from services.db.tables import Audit, Cycle, DatasetVersion, Model, ModelState
from services.mirror import standing
from services.models import holding, pins, registry
from services.modes import recognise
from services.report.curve import curve_of
from services.web import comparison, cursors, render, session
from services.web.cursors import MAX_ROW
from services.web.figures import compared

router = APIRouter()
PAGE = 50
STEPS = 50
ROWS = (
    ("mAP", "map"),
    ("AP50", "map50"),
    ("Objects", "objects"),
    ("Found", "found"),
    ("Missed", "missed"),
    ("False detections", "false_positives"),
)


@router.get("/models")
def models_page(
    request: Request, user: session.UserOf, before: Annotated[int, Query(ge=0, le=MAX_ROW)] = 0
) -> Response:
    """All models, the newest first."""
    context: Context = request.app.state.context
    query = (
        select(Model, DatasetVersion)
        .outerjoin(DatasetVersion, DatasetVersion.id == Model.dataset_version_id)
        .order_by(Model.number.desc())
        .limit(PAGE + 1)
    )
    if before:
        query = query.where(Model.number < before)
    with reading(context.sessions) as opened:
        found = [(model, dataset) for model, dataset in opened.execute(query)]
        pinned_id = pins.pinned_id(opened)
    shown = found[:PAGE]
    more = cursors.address("/models", {}, before=shown[-1][0].number) if len(found) > PAGE else ""
    values = {
        "rows": [(m, d, _figures(m)) for m, d in shown],
        "more": more,
        "pinned_id": pinned_id,
    }
    return render.page(request, "models.html", values, user)


@router.get("/models/{name}")
def model_page(request: Request, user: session.UserOf, name: str) -> Response:
    """One model."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        model = registry.find(opened, name)
        champion = registry.champion(opened)
        dataset = opened.get(DatasetVersion, model.dataset_version_id or "")
        cycle = opened.get(Cycle, model.cycle_id or 0)
        parent = opened.get(Model, model.parent_id or "")
        held = holding.why_held(opened, context.settings, model)
        pinned_id = pins.pinned_id(opened)
        judged = comparison.judged_against(opened, cycle, model)
        modes = [] if judged is None else comparison.by_mode(opened, model)
        mirrored = standing.of_model(opened, context.settings.mlflow, model)
        audit = list(
            opened.scalars(
                select(Audit)
                .where(Audit.subject == f"model:{model.id}")
                .order_by(Audit.id.desc())
                .limit(STEPS)
            )
        )
    other = champion if champion is not None and champion.id != model.id else parent
    values = {
        "model": model,
        "dataset": dataset,
        "cycle": cycle,
        "decision": (cycle.decision if cycle is not None else None) or {},
        "parent": parent,
        "other": other,
        "tiles": [] if other is None else compared(other, model),
        "classes": [] if other is None else comparison.by_class(other, model),
        "modes": modes,
        "judged": judged,
        "pinned_id": pinned_id,
        "reports": [
            (role, _rows(report)) for role, report in sorted((model.reports or {}).items())
        ],
        "audit": audit,
        "is_champion": model.state == ModelState.CHAMPION,
        "limits": holding.limits(context.settings, model),
        "held": held,
        "mirrored": mirrored,
        "curve_of": curve_of("Training", (model.training or {}).get("history")),
    }
    return render.page(request, "model.html", values, user)


@router.post("/models/{name}/promote")
def promote(request: Request, user: session.SenderOf, name: str) -> Response:
    """Make a model the champion, whatever the gate said."""

    def change(opened: Session, model: Model) -> None:
        registry.promote(opened, model, user.name, {"by": "person"})

    return _changed(request, name, change)


@router.post("/models/{name}/pin")
def pin(request: Request, user: session.SenderOf, name: str) -> Response:
    """Let nothing take the place of the champion."""
    return _changed(request, name, pins.pin)


@router.post("/models/{name}/unpin")
def unpin(request: Request, user: session.SenderOf, name: str) -> Response:
    """Let challengers take its place again."""
    return _changed(request, name, pins.unpin)


@router.post("/models/{name}/explain")
def explain_anyway(request: Request, user: session.SenderOf, name: str) -> Response:
    """Have its failures explained, though it finds less of the holdout than is set."""
    context: Context = request.app.state.context

    def change(opened: Session, model: Model) -> None:
        holding.release(opened, context.settings, model)

    return _changed(request, name, change)


def _changed(request: Request, name: str, change: Callable[[Session, Model], object]) -> Response:
    """Change a model in one transaction, then show it."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        model = registry.find(opened, name)
        change(opened, model)
        number = model.number
    return RedirectResponse(f"/models/{number}", 303)


@router.post("/models/rollback")
def roll_back(request: Request, user: session.SenderOf) -> Response:
    """Bring back the champion before this one."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        number = registry.rollback(opened, user.name).number
        recognise.settle(opened, context.settings)
    return RedirectResponse(f"/models/{number}", 303)


def _figures(model: Model) -> dict[str, Any]:
    return {role: (model.reports or {}).get(role, {}) for role in ("holdout", "siblings")}


def _rows(report: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a report counts, in the order that people read it."""
    return [(title, report[name]) for title, name in ROWS if report.get(name) is not None]
