"""Methods that look inside: do they see the class, and can they be driven to another?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.fidelity import methods
from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.references import ASKED
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import explain
from curation.explain import fidelity
from curation.kernel.types import ScoreTarget

RELEVANCE: dict[str, dict[str, Any]] = {
    "crp": {},
    "lrp": {"rule": "alpha_beta", "alpha": 1.0, "beta": 0.0},
}
FGVIS_STEPS = 60
Row = dict[str, Any]


def what_if(study: Study, targets: list[ScoreTarget]) -> list[ScoreTarget]:
    """The next foreground class at the same default boxes."""
    number = len(study.detector.class_names) - 1
    return [ScoreTarget(t.default_box, t.label % number + 1) for t in targets]


def relevance(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Correlation of the relevance maps of two classes, one row a detection and method."""
    for case in study.cases(sizes.sanity_images.get(study.world, 0)):
        for name, given in RELEVANCE.items():
            if methods.known(name):
                yield from _relevance(study, case, name, given)


def _relevance(study: Study, case: Case, name: str, given: dict[str, Any]) -> Iterator[Row]:
    def compute() -> list[float]:
        targets = [*case.targets, *what_if(study, case.targets)]
        found = explain.get(name, **given).explain(
            study.detector, case.image, targets, study.segments(case, ASKED)
        )
        maps, half = [one.pixel_map() for one in found], len(case.targets)
        return [fidelity.pearson(maps[t], maps[half + t]) for t in range(half)]

    key = study.key("relevance", case, method=name, given=given)
    for t, rho in enumerate(study.units.get(key, compute) or ()):
        yield {
            "architecture": study.architecture,
            "image": f"{study.world}/{case.name}",
            "detection": f"{study.architecture}/{study.world}/{case.name}/{t}",
            "method": name,
            "rho": rho,
        }


def adversarial(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Whether FGVis makes up evidence for an absent class, one row a detection and defence."""
    for case in (
        study.cases(sizes.fgvis_images.get(study.world, 0)) if methods.known("fgvis") else ()
    ):
        shown = [subject for subject in case.subjects if subject.kind != "FN"]
        wrong = what_if(study, [subject.target for subject in shown])
        for defence in (True, False):
            for t, fooled in enumerate(_driven(study, case, wrong, defence)):
                yield {
                    "architecture": study.architecture,
                    "image": f"{study.world}/{case.name}",
                    "detection": f"{study.architecture}/{study.world}/{case.name}/{t}",
                    "defence": defence,
                    "fooled": fooled,
                }


def _driven(study: Study, case: Case, wrong: list[ScoreTarget], defence: bool) -> list[float]:
    from curation.explain.checks.fgvis_checks import driven_to
    from curation.explain.methods.fgvis import FGVis

    rules = FGVis(num_steps=FGVIS_STEPS, defence=defence)

    def compute() -> list[float]:
        found = driven_to(study.detector, case.image, wrong, rules)
        return [float(fooled) for fooled in found]

    key = study.key("fgvis", case, defence=defence, steps=FGVIS_STEPS)
    return study.units.get(key, compute) or []
