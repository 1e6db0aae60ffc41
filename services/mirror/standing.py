"""How the exchange with MLflow stands, for people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.config.setting_groups import MlflowSettings
from services.db.tables import MLFLOW, Mirror, MirroredModel, Model


def of_server(session: Session, settings: MlflowSettings) -> dict[str, Any] | None:
    """The server and what it has not been told; None where none is set.

    Args:
        session: to read in.
        settings: where the server is.
    """
    if not settings.tracking_uri:
        return None
    mirror = session.get(Mirror, MLFLOW)
    rows = of_models(session)
    return {
        "server": settings.tracking_uri,
        "experiment": settings.experiment,
        "registered_model": settings.model_name,
        "told_at": None if mirror is None else mirror.told_at,
        "tried_at": None if mirror is None else mirror.tried_at,
        "failures": 0 if mirror is None else mirror.failures,
        "error": None if mirror is None else mirror.error,
        "told": sum(not row["waits"] for row in rows),
        "waiting": [row["model"] for row in rows if row["waits"]],
        "models": rows,
    }


def of_models(session: Session) -> list[dict[str, Any]]:
    """What each model is called there, and whether all is told of it; the newest first."""
    query = (
        select(Model.number, MirroredModel)
        .join(Model, Model.id == MirroredModel.model_id)
        .order_by(Model.number.desc())
    )
    return [_shown(number, row) for number, row in session.execute(query)]


def of_model(session: Session, settings: MlflowSettings, model: Model) -> dict[str, Any] | None:
    """The same of one; None where no server is set."""
    if not settings.tracking_uri:
        return None
    row = session.get(MirroredModel, model.id)
    mirror = session.get(Mirror, MLFLOW)
    shown = _shown(model.number, row or MirroredModel(model_id=model.id, wanted=1, sent=0))
    away = mirror.error if mirror is not None and shown["waits"] else None
    return {**shown, "registered_model": settings.model_name, "error": shown["error"] or away}


def _shown(number: int, row: MirroredModel) -> dict[str, Any]:
    return {
        "model": number,
        "waits": row.wanted > row.sent,
        "run": row.run_id,
        "version": row.version,
        "error": row.error,
        "sent_at": row.sent_at,
    }
