"""Against the truth: exact Shapley values of few segments, converged ones of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity import methods
from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import explain, superpixels
from curation.explain import fidelity
from curation.explain.checks.reference import converged_reference
from curation.kernel.detector import ScoreKind

EXACT_ASKED = 18  # SLIC gives 12 to 17, for which a grid of 12 stands in
EXACT_COST = 128
ASKED = 125  # SLIC gives about 100
OTHER_ASKED = (60, 250)
COSTS = (128, 320, 576)
OTHER_COST = 320
REFERENCE_SEED = 1000  # the methods take 0
KIND = ScoreKind.LOG_ODDS
NAMES = (methods.OURS, *methods.RIVALS)
Row = dict[str, Any]


def exact(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a detection and method: agreement with the exact values."""
    for case in study.cases(sizes.exact_images.get(study.world, 0)):
        truth = _exact_values(study, case)
        names = (methods.OURS, *methods.RIVALS, *methods.OTHERS)
        if truth is not None:
            exactly = {"values": truth, "errors": np.zeros_like(np.array(truth))}
            yield from _rows(study, case, EXACT_ASKED, exactly, names, EXACT_COST)


def _exact_values(study: Study, case: Case) -> Any:
    segments = study.segments(case, EXACT_ASKED)

    def compute() -> list[Any]:
        found = explain.get("exact_shapley", kind=KIND).explain(
            study.detector, case.image, case.targets, segments
        )
        return [attribution.values for attribution in found]

    return study.units.get(study.key("exact", case, asked=EXACT_ASKED), compute)


def converged(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a detection, method and cost: agreement with converged values."""
    for case in study.cases(sizes.converged_images.get(study.world, 0)):
        yield from _converged(study, case, sizes, ASKED, COSTS, NAMES)
    for case in study.cases(sizes.other_images.get(study.world, 0)):
        for asked in OTHER_ASKED:
            yield from _converged(study, case, sizes, asked, (OTHER_COST,), NAMES)
    for case in study.cases(sizes.converged_images.get(study.world, 0)):
        yield from _converged(study, case, sizes, ASKED, (OTHER_COST,), methods.OTHERS)


def ranks(study: Study, sizes: Sizes) -> Iterator[Row]:
    """The same with the fewest passes alone, and with most superpixels: what order is judged by."""
    names = (*NAMES, methods.ROUGH)
    for case in study.cases(sizes.converged_images.get(study.world, 0)):
        yield from _converged(study, case, sizes, ASKED, COSTS[:1], names)
    for case in study.cases(sizes.other_images.get(study.world, 0)):
        yield from _converged(study, case, sizes, OTHER_ASKED[-1], (OTHER_COST,), names)


def _converged(
    study: Study,
    case: Case,
    sizes: Sizes,
    asked: int,
    costs: Sequence[int],
    names: Sequence[str],
) -> Iterator[Row]:
    segments = study.segments(case, asked)
    pairs = sizes.pairs_per_segment * superpixels.count(segments)

    def compute() -> Row:
        start = methods.clock(study.detector.device)
        found = converged_reference(
            study.detector, case.image, case.targets, segments, KIND, pairs, REFERENCE_SEED
        )
        return {
            "values": found.values,
            "errors": found.standard_errors,
            "split_half": found.split_half,
            "seconds": methods.clock(study.detector.device) - start,
        }

    reference = study.units.get(study.key("reference", case, asked=asked, pairs=pairs), compute)
    if reference is None:
        return
    for cost in costs:
        yield from _rows(study, case, asked, reference, names, cost)


def _rows(
    study: Study,
    case: Case,
    asked: int,
    reference: Row,
    names: Sequence[str],
    cost: int,
) -> Iterator[Row]:
    split_half = reference.get("split_half")
    for name in names:
        found = study.maps(case, asked, name, cost)
        if found is None:
            continue
        for t, subject in enumerate(case.subjects):
            values, wanted = np.array(found["values"][t]), np.array(reference["values"][t])
            matter = fidelity.that_matter(wanted, np.array(reference["errors"][t]))
            yield {
                "world": study.world,
                "architecture": study.architecture,
                "image": f"{study.world}/{case.name}",
                "detection": f"{study.architecture}/{study.world}/{case.name}/{t}",
                "kind": subject.kind,
                "asked": asked,
                "segments": len(wanted),
                "method": name,
                "cost": cost,
                "rho": fidelity.pearson(values, wanted),
                "spearman": fidelity.spearman(values, wanted),
                "sign": fidelity.sign_agreement(values, wanted),
                "matter": int(matter.sum()),
                "spearman_matter": fidelity.spearman_of(values, wanted, matter),
                "spearman_rest": fidelity.spearman_of(values, wanted, ~matter),
                "spearman_mass": fidelity.spearman_of(values, wanted, fidelity.heaviest(wanted)),
                "sign_matter": fidelity.sign_agreement(values, wanted, among=matter),
                "worst_overlap": fidelity.worst_overlap(values, wanted),
                "passes": found.get("passes", cost),
                "split_half": None if split_half is None else split_half[t],
                "seconds": found["seconds"] / len(case.subjects),
            }
