"""Against the detector itself and against planted causes: what happens when regions go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity import methods
from benchmarks.fidelity.cases import Case, Subject
from benchmarks.fidelity.references import ASKED, COSTS, OTHER_COST
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import superpixels
from curation.explain import fidelity
from curation.explain.base import masked_scores
from curation.explain.hurting import hurting_regions
from curation.kernel.detector import ScoreKind
from curation.kernel.types import Attribution, BoolArray, FloatArray, Region
from curation.regions import Control, RegionRules, control_regions
from curation.superpixels import SegmentArray

NAMES = (methods.OURS, *methods.RIVALS)
FEW = COSTS[0]
TRIED = (
    *((name, name, OTHER_COST) for name in NAMES),
    (f"{methods.OURS} {FEW}", methods.OURS, FEW),
)
"""Whose regions are tried: label, name and cost; ours with the fewest passes too."""
RANDOM = "random"
STEPS = 25
SEEN_STEPS = 6
RANDOM_DRAWS = 8
TOLERANCE = 15 / 500  # of the longer side: 15 px of the images that the game was made for
RULES = RegionRules()
Row = dict[str, Any]


def faithfulness(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Deletion and insertion, one row a detection and method."""
    for case in study.cases(sizes.faithful_images.get(study.world, 0)):
        for name in (*NAMES, RANDOM):
            found = _values(study, case, name)
            if found is not None:
                yield from _curves(study, case, name, found)


def recovery(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Whether a miss gets surer without its most negative region, one row a miss and method."""
    planted = study.cases(sizes.planted_images, True) if study.world == "street" else []
    for case in [*planted, *study.cases(sizes.faithful_images.get(study.world, 0))]:
        if any(subject.kind == "FN" for subject in case.subjects):
            for label, name, cost in TRIED:
                found = study.attributions(case, ASKED, name, cost)
                if found is not None:
                    for row in _recovered(study, case, name, cost, found):
                        yield row | {"method": label} | _spent(study, case, name, cost)


def pointing(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Whether the most harmful region lies on the planted cause, one row a failure and method."""
    if study.world != "street":
        return
    for case in study.cases(sizes.planted_images, True):
        for label, name, cost in TRIED:
            found = study.attributions(case, ASKED, name, cost)
            for attribution, subject in zip(found or (), case.subjects, strict=False):
                if subject.cause_mask is not None:
                    row = row_of(study, case, subject, label) | _spent(study, case, name, cost)
                    yield row | pointed(case, subject, attribution)


def _spent(study: Study, case: Case, name: str, cost: int) -> Row:
    """Forward passes of the image, and for each of its detections, which share them."""
    passes = (study.maps(case, ASKED, name, cost) or {}).get("passes", cost)
    return {"passes": passes, "passes_each": passes / len(case.subjects)}


def row_of(study: Study, case: Case, subject: Subject, name: str) -> Row:
    return {
        "world": study.world,
        "architecture": study.architecture,
        "image": f"{study.world}/{case.name}",
        "detection": f"{study.architecture}/{study.world}/{case.name}/{subject.target}",
        "kind": subject.kind,
        "cause": subject.cause,
        "method": name,
    }


def _values(study: Study, case: Case, name: str) -> list[Any] | None:
    if name == RANDOM:
        count = superpixels.count(study.segments(case, ASKED))
        rng = np.random.default_rng(0)
        return [rng.normal(size=count) for _ in case.subjects]
    found = study.maps(case, ASKED, name, OTHER_COST)
    return None if found is None else found["values"]


def _curves(study: Study, case: Case, name: str, values: list[Any]) -> Iterator[Row]:
    """Areas under both curves in probability, with fixed default box and as a user sees it."""
    segments = study.segments(case, ASKED)

    def compute() -> list[dict[str, float]]:
        inputs = study.detector.preprocess([case.image])
        areas = []
        for subject, ranks in zip(case.subjects, values, strict=True):
            area: dict[str, float] = {}
            for order in ("deletion", "insertion"):
                weights, shares = fidelity.order_weights(segments, np.array(ranks), order)
                rows = np.unique(np.linspace(0, len(shares) - 1, STEPS).round().astype(int))
                scores = masked_scores(
                    study.detector,
                    inputs,
                    segments,
                    weights[rows],
                    [subject.target],
                    ScoreKind.PROBABILITY,
                )[:, 0]
                area[order] = fidelity.area_under(shares[rows], scores.astype(np.float64))
                if subject.kind != "FN" or order == "insertion":
                    few = rows[:: max(1, len(rows) // SEEN_STEPS)]
                    few = np.union1d(few, [0, len(shares) - 1])
                    seen = fidelity.detected_scores(
                        study.detector,
                        case.image,
                        subject.box_xyxy,
                        subject.target.label,
                        segments,
                        weights[few],
                    )
                    area[f"{order}_seen"] = fidelity.area_under(shares[few], seen)
            areas.append(area)
        return areas

    key = study.key("curves", case, asked=ASKED, method=name, cost=OTHER_COST)
    for subject, area in zip(case.subjects, study.units.get(key, compute) or (), strict=False):
        yield row_of(study, case, subject, name) | area


def _recovered(
    study: Study, case: Case, name: str, cost: int, found: list[Attribution]
) -> Iterator[Row]:
    """Log-odds gained without the region, beside random regions of as many superpixels."""
    size_wh = (case.image.shape[1], case.image.shape[0])
    misses = [t for t, subject in enumerate(case.subjects) if subject.kind == "FN"]

    def compute() -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for t in misses:
            subject, attribution = case.subjects[t], found[t]
            regions = hurting_regions(attribution, False, size_wh, RULES, subject.box_xyxy)[:1]
            if not regions:
                results.append({"gain": float("nan")})
                continue
            drawn = _random_regions(attribution, regions[0], size_wh)
            values, _ = attribution.for_regions()
            single = np.arange(len(values)) == int(values.argmin())
            groups = [members_of(regions[0], attribution), single, *drawn]
            gain = gains(study, case, attribution, groups)
            results.append(
                {
                    "gain": gain[0],
                    "gain_single": gain[1],
                    "gain_random": gain[2:],
                    "superpixels": len(regions[0].segments),
                }
            )
        return results

    key = study.key("recovery", case, asked=ASKED, method=name, cost=cost)
    for t, result in zip(misses, study.units.get(key, compute) or (), strict=False):
        yield row_of(study, case, case.subjects[t], name) | result


def gains(
    study: Study, case: Case, attribution: Attribution, groups: Sequence[BoolArray]
) -> FloatArray:
    """[G] log-odds that the attribution's target gains without each group [S] of superpixels."""
    kept = 1 - np.stack([np.zeros_like(groups[0]), *groups]).astype(np.float32)
    scores = masked_scores(
        study.detector,
        study.detector.preprocess([case.image]),
        attribution.segments,
        kept,
        [attribution.target],
        ScoreKind.LOG_ODDS,
    )[:, 0]
    gained: FloatArray = scores[1:] - scores[0]
    return gained


def _random_regions(
    attribution: Attribution, region: Region, size_wh: tuple[int, int]
) -> list[BoolArray]:
    """Connected groups of as many superpixels anywhere else, as the loop's control draws them."""
    rng = np.random.default_rng(len(region.segments))
    box = region.box_xyxy
    return [
        members_of(drawn, attribution)
        for _ in range(RANDOM_DRAWS)
        for drawn in control_regions(
            attribution, [region], Control.RANDOM, False, size_wh, RULES, box, rng
        )
    ]


def members_of(region: Region, attribution: Attribution) -> BoolArray:
    chosen = np.zeros(len(attribution.values), np.bool_)
    chosen[list(region.segments)] = True
    return chosen


def pointed(
    case: Case, subject: Subject, attribution: Attribution, rules: RegionRules = RULES
) -> Row:
    """Whether the strongest superpixel of the most harmful region lies on the planted cause."""
    assert subject.cause_mask is not None
    segments = attribution.segments
    mask = on_grid(subject.cause_mask, segments)
    size_wh = (case.image.shape[1], case.image.shape[0])
    false = subject.kind == "FP"
    regions = hurting_regions(attribution, false, size_wh, rules, subject.box_xyxy)[:1]
    if not regions:
        return {"hit": 0.0, "strict": 0.0, "touch": 0.0, "iou": 0.0, "chance": float("nan")}
    tolerance = TOLERANCE * max(segments.shape)
    strongest = _strongest(attribution, regions[0], false)
    point = fidelity.inner_point(segments, [strongest])
    harm = attribution.values if false else -attribution.values
    drawn = [
        fidelity.inner_point(segments, np.flatnonzero(members))
        for members in _random_regions(attribution, regions[0], size_wh)
    ]
    return {
        "hit": float(fidelity.pointing_hit(point, mask, tolerance)),
        "strict": float(fidelity.pointing_hit(point, mask)),
        "touch": float((regions[0].mask & mask).any()),
        "iou": fidelity.mask_iou(harm[segments], mask),
        "chance": float(np.mean([fidelity.pointing_hit(at, mask, tolerance) for at in drawn])),
        "cause_share": float(mask.mean()),
    }


def _strongest(attribution: Attribution, region: Region, false: bool) -> int:
    """The segment of a region that does most harm."""
    members, (values, _) = np.array(region.segments), attribution.for_regions()
    return int(members[fidelity.most_negative(values[members], false)])


def on_grid(mask: BoolArray, segments: SegmentArray) -> BoolArray:
    """A mask of the image on the network's grid, by nearest neighbour."""
    rows, columns = (
        (np.arange(side) * full) // side
        for side, full in zip(segments.shape, mask.shape, strict=True)
    )
    small: BoolArray = mask[np.ix_(rows, columns)]
    return small
