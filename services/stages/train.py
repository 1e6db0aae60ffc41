"""Train: a dataset version → a model in the registry; the gate comes next."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from services.cycle import cycles
from services.db.tables import Cycle
from services.models import training
from services.units import Claim
from services.units.pipeline import StageContext, Store


def run(stage: StageContext, claim: Claim) -> Store:
    """Train for ``payload['cycle']``, or the first detector where that is None."""
    cycle_id = claim.payload["cycle"]
    context = stage.context
    trained = training.run(context, cycle_id, lambda _beat: stage.heartbeat())

    def store(session: Session) -> dict[str, Any]:
        if cycle_id is None:
            model = training.register_first(session, trained)
        else:
            model = training.register(session, trained, cycle_id)
            cycle = session.get_one(Cycle, cycle_id)
            cycles.begin_gating(session, cycle, model.id, trained.dataset_id)
        return training.result_of(model, trained)

    return store
