"""Which index cuts the best regions: Shapley values, or weighted Banzhaf values of some share.

The images are not those of the other parts, so that what is chosen here is judged there on
failures that it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.faithfulness import RULES, gains, members_of, pointed, row_of
from benchmarks.fidelity.references import ASKED, KIND, OTHER_COST
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation.explain.gp_shap import GPShap, Posterior
from curation.kernel.types import Attribution, FloatArray
from curation.regions import harmful_regions

SEED = 12
SHARES = (0.1, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0)
Row = dict[str, Any]


def shares(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a failure of a planted cause and index, all from the same masked images."""
    if study.world != "street":
        return
    for case in study.cases(sizes.share_images, True, seed=SEED):
        key = study.key("shares", case, asked=ASKED, cost=OTHER_COST, shares=SHARES)
        for found in study.units.get(key, partial(_tried, study, case)) or ():
            yield row_of(study, case, case.subjects[found["subject"]], GPShap.name) | found


def _tried(study: Study, case: Case) -> list[Row]:
    """What regions of every index point at, and what the score gains without them."""
    segments = study.segments(case, ASKED)
    believed = GPShap(num_samples=OTHER_COST, first_samples=0, kind=KIND).posteriors(
        study.detector, case.image, case.targets, segments
    )
    rows = []
    for t, posterior in enumerate(believed):
        for name, (values, errors) in _indices(posterior).items():
            attribution = Attribution(
                case.targets[t], segments, values, errors, 0.0, 0.0, GPShap.name
            )
            hit = pointed(case, case.subjects[t], attribution)["hit"]
            row = {"subject": t, "regions_of": name, "hit": hit}
            if case.subjects[t].kind == "FN":
                row |= _without(study, case, t, attribution)
            rows.append(row)
    return rows


def _indices(posterior: Posterior) -> dict[str, tuple[FloatArray, FloatArray]]:
    weighted = {f"banzhaf {share}": posterior.banzhaf(share) for share in SHARES}
    return {"shapley": posterior.shapley()} | weighted


def _without(study: Study, case: Case, t: int, attribution: Attribution) -> Row:
    """Log-odds that a miss gains without its most negative region."""
    size_wh = (case.image.shape[1], case.image.shape[0])
    box = case.subjects[t].box_xyxy
    regions = harmful_regions(attribution, False, size_wh, RULES, box)[:1]
    if not regions:
        return {}
    (gain,) = gains(study, case, attribution, [members_of(regions[0], attribution)])
    return {
        "gain": float(gain),
        "recovers": float(gain > 0),
        "superpixels": len(regions[0].segments),
    }
