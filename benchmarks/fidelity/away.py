"""Causes away from the object: what a window about it loses, and what removing regions finds again.

In the world of :data:`~benchmarks.fidelity.cases.AWAY` people are missed beside a kiosk that stands
outside twice their box. Where causes lie near the object a search of the whole image must not do
worse either, so the same is asked of the usual street world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.fidelity import cases
from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.faithfulness import RULES, row_of
from benchmarks.fidelity.references import ASKED, KIND
from benchmarks.fidelity.rivals import EQUAL, harm_told
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation.explain.gp_shap import GPShap

SEED = 26
WINDOW, ANYWHERE, REMOVED = "masks alone, in the window", "masks alone, anywhere", "the default"
ANY = replace(RULES, focus_scale=float("inf"))
Row = dict[str, Any]


def away(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a planted failure and way to look: does the deletion help, is it the cause?"""
    if study.world not in ("street", cases.AWAY):
        return
    for case in study.cases(sizes.away_images, True, seed=SEED):
        key = study.key("away", case, asked=ASKED, cost=EQUAL, given=_default().parameters)
        for found in study.units.get(key, partial(_looked, study, case)) or ():
            yield row_of(study, case, case.subjects[found["subject"]], found["way"]) | found


def _default() -> GPShap:
    return GPShap(num_samples=EQUAL, kind=KIND)


def _looked(study: Study, case: Case) -> list[Row]:
    segments = study.segments(case, ASKED)
    masked = replace(_default(), first_samples=0)
    rows = []
    for explainer, ways in (
        (masked, {WINDOW: RULES, ANYWHERE: ANY}),
        (_default(), {REMOVED: RULES}),
    ):
        found = explainer.explain(study.detector, case.image, case.targets, segments)
        for t, (subject, attribution) in enumerate(zip(case.subjects, found, strict=True)):
            for way, rules in ways.items():
                told = harm_told(study, case, subject, attribution, rules)
                rows.append({"subject": t, "way": way} | told)
    return rows
