"""Train: a dataset version → a model in the registry; the gate comes next.

Where samples were drawn for the cycle, two models are trained: first without them, so that what
was drawn can hold up no repair, then with them. The gate chooses.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from services.cycle import cycles
from services.db.engine import reading
from services.db.tables import Cycle, CycleState, DatasetVersion
from services.models import datasets, registration, training
from services.units import Claim
from services.units.pipeline import StageContext, Store


def run(stage: StageContext, claim: Claim) -> Store:
    """Train for ``payload['cycle']``, or the first detector where that is None."""
    cycle_id = claim.payload["cycle"]
    context = stage.context
    fence = claim.unit_id, claim.token
    versions = datasets.build_versions(context, cycle_id)
    trained = training.run(
        context, cycle_id, lambda _beat: stage.heartbeat(), versions.first, fence=fence
    )

    def store(session: Session) -> dict[str, Any]:
        if cycle_id is None:
            model = registration.register_first(session, trained)
        else:
            model = registration.register(session, trained, cycle_id)
            cycle = session.get_one(Cycle, cycle_id)
            if versions.drawn is None:
                cycles.begin_gating(session, cycle, model.id, trained.dataset_id)
            else:
                cycles.begin_drawn_training(
                    session, cycle, model.id, trained.dataset_id, versions.drawn.id
                )
        return registration.result_of(model, trained)

    return store


def run_drawn(stage: StageContext, claim: Claim) -> Store:
    """Train ``payload['cycle']`` on ``payload['version']``, which holds what was drawn for it."""
    cycle_id, context = claim.payload["cycle"], stage.context
    with reading(context.sessions) as session:
        version = session.get_one(DatasetVersion, claim.payload["version"])
    trained = training.run(
        context,
        cycle_id,
        lambda _beat: stage.heartbeat(),
        version,
        drawn=True,
        fence=(claim.unit_id, claim.token),
    )

    def store(session: Session) -> dict[str, Any]:
        cycle = cycles.hold(session, cycle_id)
        if cycle.state != CycleState.TRAINING:  # it was parked, and the cycle has gone on
            return {"too_late": True}
        model = registration.register(session, trained, cycle_id)
        rival = cycle.challenger_id if cycle.challenger_id != model.id else None
        cycles.begin_gating(session, cycle, model.id, trained.dataset_id, rival)
        return registration.result_of(model, trained)

    return store
