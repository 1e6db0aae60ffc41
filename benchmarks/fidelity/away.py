"""Causes away from the object: what a window about it loses, and what removing regions finds again.

In the world of :data:`~benchmarks.fidelity.cases.AWAY` people are missed beside a kiosk that stands
outside twice their box. Where causes lie near the object a search of the whole image must not do
worse either, so the same is asked of the usual street world. What was planted need not be what
holds a detection back, so that its own removal is tried too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.fidelity import cases, report
from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.faithfulness import RULES, gains, on_grid, row_of
from benchmarks.fidelity.references import ASKED, KIND
from benchmarks.fidelity.rivals import EQUAL, harm_told
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import superpixels
from curation.explain.gp_shap import GPShap
from curation.kernel.types import BoolArray
from curation.superpixels import SegmentArray

SEED = 29
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
            (gained,) = gains(study, case, attribution, [covered(subject.cause_mask, segments)])
            of_cause = -float(gained) if subject.kind == "FP" else float(gained)
            for way, rules in ways.items():
                told = harm_told(study, case, subject, attribution, rules)
                rows.append({"subject": t, "way": way, "cause_gain": of_cause} | told)
    return rows


def covered(mask: BoolArray | None, segments: SegmentArray) -> BoolArray:
    """[S] the superpixels that lie on a cause with half of their area, at least one."""
    assert mask is not None
    count = superpixels.count(segments)
    inside = np.bincount(segments.ravel(), on_grid(mask, segments).ravel(), minlength=count)
    shares = inside / np.bincount(segments.ravel(), minlength=count)
    found: BoolArray = shares >= min(0.5, float(shares.max()))
    return found


def tables(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Of all, and of those whose cause, removed, gains more than what the window names."""
    window = {row["detection"]: row["gain"] for row in rows if row["method"] == WINDOW}
    beyond = [row for row in rows if row["cause_gain"] > max(0.0, window[row["detection"]])]
    columns, values = ("world", "method"), ("helps", "hit", "gain", "cause_gain")
    return {
        "away": report.simple(rows, columns, values),
        "away_beyond": report.simple(beyond, columns, values),
    }
