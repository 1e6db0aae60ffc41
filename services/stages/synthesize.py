"""Synthesize: failures that teach and known objects → checked samples for the next training.

All of it is drawn, checked and stored as one: a unit that is killed has stored nothing, and the
next try draws the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from curation import synthesis
from curation.synthesis import (
    Generator,
    Sample,
    Scene,
    SynthesisRequest,
    Verdict,
)
from services.db.tables import Cycle, SampleState
from services.models.loaded import detector_of, encoder_of
from services.synthesis import harms, keeping
from services.synthesis.drawers import drawer
from services.synthesis.harms import Harms
from services.synthesis.keeping import Prepared
from services.synthesis.material import Material, load
from services.synthesis.scope import Scope, read_scope
from services.units import Claim
from services.units.pipeline import StageContext, Store

logger = logging.getLogger(__name__)

PLACES = 4
"""For look-alikes, of each false detection and candidate."""
ROUNDS_APART = 7919
"""Added to the cycle's seed for each time that it is drawn for again: a prime, so that the rounds
of one cycle are not those of the next."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Draw for ``payload['cycle']``, the ``payload['round']``-th time."""
    context = stage.context
    with drawer(context, lambda: encoder_of(stage)) as generator:
        generator.require_ready()  # a slip in the settings is told before anything is looked at
        return _drawn(stage, claim, generator)


def _drawn(stage: StageContext, claim: Claim, generator: Generator) -> Store:
    context, cycle_id = stage.context, claim.payload["cycle"]
    scope = read_scope(context, cycle_id)
    if scope.why:
        return _nothing(cycle_id, scope.why)
    detector = detector_of(stage, scope.champion.id)
    material = load(context, scope, detector)
    seed = scope.cycle.seed + ROUNDS_APART * claim.payload["round"]
    blamed = harms.found(stage, scope, material, detector, seed)
    wanted = context.settings.synthesis
    invents = generator.invents and bool(blamed.alike)
    plans = synthesis.plan(_request(wanted.candidates, scope, material, blamed, invents, seed))
    limits = {str(mode.id): wanted.budget_mode for mode in scope.drawable}
    drawn = list(synthesis.draw(plans, generator, material.context, limits))
    samples, verdicts = synthesis.decide(drawn, scope.budget, scope.controls, seed)
    prepared = keeping.prepare(context, scope, samples, detector.class_names)
    said = _told(scope, samples, prepared, verdicts, blamed, material.lost)
    said["harm_from"] = wanted.harm_from
    if invents:
        said["lost"].append(f"look-alikes are not drawn by {generator.name}, which invents")

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
    blamed: Harms,
    invents: bool,
    seed: int,
) -> SynthesisRequest:
    modes = [one for one in blamed.modes if not (invents and one.staging.is_alike)]
    return SynthesisRequest(
        modes=modes,
        donors=material.donors,
        harmless=[synthesis.harmless(one) for one in material.donors],
        budget=scope.budget,
        candidates=candidates,
        controls=scope.controls / scope.budget,
        seed=seed,
        scenes=list(_scenes(material, blamed, candidates, seed)),
    )


def _scenes(material: Material, blamed: Harms, candidates: int, seed: int) -> Iterator[Scene]:
    """Places for what was taken for an object, of each failure's own size."""
    for number, (missed, _) in enumerate(blamed.alike):
        size_hw = missed.pixels.shape[0], missed.pixels.shape[1]
        told = (missed.box_xyxy, size_hw, missed.label, PLACES * candidates)
        yield from synthesis.places(material.pictures, *told, np.random.default_rng([seed, number]))


def _told(
    scope: Scope,
    samples: Sequence[Sample],
    prepared: Sequence[Prepared],
    verdicts: Sequence[Verdict],
    blamed: Harms,
    lost: Sequence[str],
) -> dict[str, Any]:
    """What came of it, as the cycle keeps it."""
    states = Counter(one.row["state"] for one in prepared)
    by_mode: dict[str, list[Verdict]] = defaultdict(list)
    for one in verdicts:
        by_mode[one.mode].append(one)
    why = ""
    if not samples:
        why = (
            next(iter(blamed.unblamed.values()), "")
            or next(iter(lost), "")
            or "no object fits another"
        )
    return {
        "why": why,
        "kept": states[SampleState.KEPT],
        "waiting": states[SampleState.DRAWN],
        "refused": states[SampleState.REFUSED],
        "reasons": _reasons(samples),
        "unblamed": blamed.unblamed,
        "lost": list(lost),
        "modes": [
            _of_mode(scope, mode.id, by_mode[str(mode.id)], samples)
            | {"sources": blamed.sources.get(str(mode.id), {})}
            for mode in scope.modes
        ],
    }


def _reasons(samples: Sequence[Sample]) -> dict[str, int]:
    """How many were refused by the name of what refused them."""
    return dict(Counter(one.reason.split(":")[0] for one in samples if not one.kept).most_common())


def _of_mode(
    scope: Scope, mode_id: int, verdicts: Sequence[Verdict], samples: Sequence[Sample]
) -> dict[str, Any]:
    mode = next(one for one in scope.modes if one.id == mode_id)
    own = [one for one in samples if one.plan.mode == str(mode_id)]
    told: dict[str, Any] = {"mode": mode_id, "name": mode.name, "why": mode.why}
    told |= {"drawn": len(own), "kept": sum(one.kept for one in own)}
    told["by"] = [{**asdict(one), "works": one.works} for one in verdicts]
    if verdicts:  # of its main staging, as those read it that know of one only
        first = told["by"][0]
        told |= {name: first[name] for name in ("difference", "low", "high", "works")}
    return told
