"""Synthesize: failures that teach and known objects → checked samples for the next training.

All of it is drawn, checked and stored as one: a unit that is killed has stored nothing, and the
next try draws the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from curation import synthesis
from curation.synthesis import Harm, ModeHarm, Sample, Staging, SynthesisRequest, Verdict
from services.config import builders
from services.db.tables import Cycle, SampleState
from services.models.loaded import detector_of
from services.synthesis import keeping
from services.synthesis.keeping import Prepared
from services.synthesis.material import Material, load
from services.synthesis.scope import Scope, read_scope
from services.units import Claim
from services.units.pipeline import StageContext, Store

logger = logging.getLogger(__name__)

ROUNDS_APART = 7919
"""Added to the cycle's seed for each time that it is drawn for again: a prime, so that the rounds
of one cycle are not those of the next."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Draw for ``payload['cycle']``, the ``payload['round']``-th time."""
    context, cycle_id = stage.context, claim.payload["cycle"]
    generator = builders.generator(context.settings)  # a slip in the settings is told first
    scope = read_scope(context, cycle_id)
    if scope.why:
        return _nothing(cycle_id, scope.why)
    detector = detector_of(stage, scope.champion.id)
    material = load(context, scope, detector)
    seed = scope.cycle.seed + ROUNDS_APART * claim.payload["round"]
    found = list(synthesis.harms_of(material.misses, material.donors, detector, seed))
    told = {one.failure: why for one, why in found if isinstance(why, str)}
    wanted = context.settings.synthesis
    plans = synthesis.plan(_request(wanted.candidates, scope, material, found, seed))
    limits = {str(mode.id): wanted.budget_mode for mode in scope.drawable}
    drawn = list(synthesis.draw(plans, generator, material.context, limits))
    samples, verdicts = synthesis.decide(drawn, scope.budget, scope.controls, seed)
    prepared = keeping.prepare(context, scope, samples, detector.class_names)
    said = _told(scope, samples, prepared, verdicts, told, material.lost)

    def store(session: Session) -> dict[str, Any]:
        new = keeping.store(session, prepared)
        session.get_one(Cycle, cycle_id).drawing = said
        return {"samples": new, "kept": said["kept"], "waiting": said["waiting"]}

    return store


def _nothing(cycle_id: int, why: str) -> Store:
    logger.info("nothing is drawn for cycle %d: %s", cycle_id, why)

    def store(session: Session) -> dict[str, Any]:
        cycle = session.get_one(Cycle, cycle_id)
        cycle.drawing = {"why": why, "kept": 0, "waiting": 0, "refused": 0, "modes": []}
        return {"samples": 0, "why": why}

    return store


def _request(
    candidates: int,
    scope: Scope,
    material: Material,
    found: Sequence[tuple[synthesis.Missed, Harm | str]],
    seed: int,
) -> SynthesisRequest:
    harms: dict[str, list[tuple[str, Harm]]] = defaultdict(list)
    for missed, harm in found:
        if isinstance(harm, Harm):
            harms[missed.mode].append((missed.failure, harm))
    modes = [
        ModeHarm(str(mode.id), Staging.SURROUND, tuple(harms[str(mode.id)]))
        for mode in scope.drawable
        if harms[str(mode.id)]
    ]
    return SynthesisRequest(
        modes=modes,
        donors=material.donors,
        harmless=[synthesis.harmless(one) for one in material.donors],
        budget=scope.budget,
        candidates=candidates,
        controls=scope.controls / scope.budget,
        seed=seed,
    )


def _told(
    scope: Scope,
    samples: Sequence[Sample],
    prepared: Sequence[Prepared],
    verdicts: Sequence[Verdict],
    unblamed: dict[str, str],
    lost: Sequence[str],
) -> dict[str, Any]:
    """What came of it, as the cycle keeps it."""
    states = Counter(one.row["state"] for one in prepared)
    by_mode = {one.mode: one for one in verdicts}
    why = ""
    if not samples:
        why = next(iter(unblamed.values()), "") or next(iter(lost), "") or "no object fits another"
    return {
        "why": why,
        "kept": states[SampleState.KEPT],
        "waiting": states[SampleState.DRAWN],
        "refused": states[SampleState.REFUSED],
        "reasons": _reasons(samples),
        "unblamed": unblamed,
        "lost": list(lost),
        "modes": [
            _of_mode(scope, mode.id, by_mode.get(str(mode.id)), samples) for mode in scope.modes
        ],
    }


def _reasons(samples: Sequence[Sample]) -> dict[str, int]:
    """How many were refused by the name of what refused them."""
    return dict(Counter(one.reason.split(":")[0] for one in samples if not one.kept).most_common())


def _of_mode(
    scope: Scope, mode_id: int, verdict: Verdict | None, samples: Sequence[Sample]
) -> dict[str, Any]:
    mode = next(one for one in scope.modes if one.id == mode_id)
    own = [one for one in samples if one.plan.mode == str(mode_id)]
    told: dict[str, Any] = {"mode": mode_id, "name": mode.name, "why": mode.why}
    told |= {"drawn": len(own), "kept": sum(one.kept for one in own)}
    if verdict is not None:
        told |= {
            "difference": verdict.difference,
            "low": verdict.low,
            "high": verdict.high,
            "works": verdict.works,
        }
    return told
