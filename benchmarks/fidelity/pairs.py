"""Is what hurts only together found? A pair planted into the scores of real detectors.

The score of a masked image is that of the detector, less something while both of two superpixels
are shown: everything else that the detector does to its superpixels stays. How much less is told in
units of the strongest superpixel that the detector itself has; with twice that each of the pair has
a Shapley value like the strongest's. The images are of a seed that nothing was chosen by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.faithfulness import RULES, row_of
from benchmarks.fidelity.references import ASKED, KIND
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import superpixels
from curation.explain.gp_shap import GPShap, Posterior, believed
from curation.explain.hurting import SHOWN, hurting_regions
from curation.kernel.types import Attribution, BoolArray, FloatArray, IntArray

SEED = 13
COSTS = (128, 320)
STRENGTHS = (1.0, 2.0, 4.0)
Row = dict[str, Any]


def pairs(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a detection, cost and strength."""
    for case in study.cases(sizes.pair_images.get(study.world, 0), seed=SEED):
        for cost in COSTS:
            key = study.key("pairs", case, asked=ASKED, cost=cost, strengths=STRENGTHS)
            for found in study.units.get(key, partial(_tried, study, case, cost)) or ():
                yield row_of(study, case, case.subjects[found["subject"]], GPShap.name) | found


def _tried(study: Study, case: Case, cost: int) -> list[Row]:
    segments = study.segments(case, ASKED)
    # the image and the targets, and not the order of the cases, decide which pair is planted
    rng = np.random.default_rng([SEED, superpixels.count(segments), len(case.targets)])
    explainer = GPShap(num_samples=cost, kind=KIND)
    known = explainer.posteriors(study.detector, case.image, case.targets, segments)
    rows = []
    for t, posterior in enumerate(known):
        pair = _apart(study, case, t, rng)
        strongest = float(np.abs(posterior.shapley()[0]).max())
        for strength in STRENGTHS if pair is not None and strongest > 0 else ():
            assert pair is not None
            told = _found(study, case, t, posterior, pair, strength * strongest)
            rows.append({"subject": t, "cost": cost, "strength": strength} | told)
    return rows


def _found(
    study: Study, case: Case, t: int, posterior: Posterior, pair: IntArray, harm: float
) -> Row:
    """Whether a planted pair is the strongest of all, and whether its regions are told to be one.

    The kernel is fitted anew to the scores with the pair, as it would be had the detector it.
    """
    both = posterior.masks[:, pair].prod(axis=1)  # [N]
    segments = study.segments(case, ASKED)
    planted = believed(
        posterior.masks,
        (posterior.scores - harm * both).astype(np.float32),
        posterior.layout,
    )
    joint = -planted.interactions(SHOWN)
    rank = 1 + int((joint[np.triu_indices(len(joint), 1)] > joint[pair[0], pair[1]]).sum())
    values, errors = planted.shapley()
    region_values, region_errors = planted.banzhaf(SHOWN)
    attribution = Attribution(
        case.targets[t], segments, values, errors, 0.0, 0.0, GPShap.name,
        region_values=region_values, region_errors=region_errors, belief=planted,
    )  # fmt: skip
    size_wh = (case.image.shape[1], case.image.shape[0])
    rules = replace(RULES, max_regions=8)
    regions = hurting_regions(attribution, False, size_wh, rules, case.subjects[t].box_xyxy)
    homes = [next((n for n, r in enumerate(regions) if s in r.segments), -1) for s in pair]
    told = [regions[home].only_with for home in homes if home >= 0]
    return {
        "rank": rank,
        "first": float(rank == 1),
        "in_three": float(rank <= 3),
        "cut": float(min(homes) >= 0),
        "told": float(min(homes) >= 0 and told == homes[::-1]),
    }


def _apart(study: Study, case: Case, t: int, rng: np.random.Generator) -> IntArray | None:
    """Two superpixels in twice the box's sides that do not touch; None where there are none."""
    segments = study.segments(case, ASKED)
    inside = np.flatnonzero(_near(segments, case, t))
    touching = superpixels.neighbours(segments)
    free = [(a, b) for n, a in enumerate(inside) for b in inside[n + 1 :] if not touching[a, b]]
    return np.array(free[rng.integers(len(free))], np.int64) if free else None


def _near(segments: Any, case: Case, t: int) -> BoolArray:
    size = np.array([case.image.shape[1], case.image.shape[0]], np.float64)
    corners = np.array(case.subjects[t].box_xyxy, np.float64).reshape(2, 2)
    half = np.maximum((corners[1] - corners[0]) * RULES.focus_scale, size * RULES.focus_min_share)
    scale = size / segments.shape[::-1]
    centres: FloatArray = superpixels.centroids_xy(segments) * scale
    near: BoolArray = (np.abs(centres - corners.mean(axis=0)) <= half / 2).all(axis=1)
    return near
