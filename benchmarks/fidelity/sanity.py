"""Checks that a map must pass whatever it is compared with: other weights, another class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.fidelity import methods
from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.inside import what_if
from benchmarks.fidelity.references import ASKED, KIND
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import explain
from curation.explain import fidelity
from curation.explain.base import Explainer
from curation.superpixels import SegmentArray
from retrain import checkpoint
from retrain.detector import SsdDetector
from retrain.ssd import build

COST = 128
STAGES = {"heads": 0.0, "third": 1 / 3, "two thirds": 2 / 3, "all": 1.0}
"""Share of the backbone's layers, from the last one down, that lose their weights."""
LAYERED = ("guided_backprop", "grad_cam", "odam")
Row = dict[str, Any]


def randomised(detector: SsdDetector, share: float, seed: int = 0) -> SsdDetector:
    """A detector whose heads and last layers have their weights shuffled within each tensor.

    Shuffling keeps the scale of every layer, so that signals neither die nor explode.

    Source:
        Adebayo et al., 2018: cascading randomisation, from the output down.
    """
    rng = np.random.default_rng(seed)
    state = {name: value.clone() for name, value in detector.state().items()}
    layers = [name for name, value in state.items() if value.ndim > 1]
    heads = [name for name in layers if name.startswith("head.")]
    below = [name for name in layers if not name.startswith("head.")][::-1]
    for name in heads + below[: round(share * len(below))]:
        flat = state[name].flatten()
        order = torch.from_numpy(rng.permutation(len(flat)))
        state[name] = flat[order].view_as(state[name])
    model = build(detector.config)
    checkpoint.fill(model, state, "randomised weights")
    return SsdDetector(model, detector.config, str(detector.device))


def weights(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Correlation of a map with that of a randomised detector, one row a detection and stage."""
    shuffled: dict[str, SsdDetector] = {}

    def detector_at(stage: str) -> SsdDetector:
        if stage not in shuffled:
            shuffled[stage] = randomised(study.detector, STAGES[stage])
        return shuffled[stage]

    for case in study.cases(sizes.sanity_images.get(study.world, 0)):
        segments = study.segments(case, ASKED)
        for name in (methods.OURS, "e2x", "kernel_shap", *LAYERED):
            explainer = _explainer(study, name, segments)
            if explainer is None:
                continue
            for stage in STAGES:
                yield from _changed(study, case, explainer, stage, lambda s=stage: detector_at(s))


def _explainer(study: Study, name: str, segments: SegmentArray) -> Explainer | None:
    if name in LAYERED:
        return explain.get(name, kind=KIND) if name in explain.names() else None
    return methods.at_cost(name, COST, study.price(), int(segments.max()) + 1)


def _changed(
    study: Study, case: Case, explainer: Explainer, stage: str, other: Any
) -> Iterator[Row]:
    segments = study.segments(case, ASKED)

    def own() -> list[Any]:
        found = explainer.explain(study.detector, case.image, case.targets, segments)
        return [attribution.values for attribution in found]

    def shuffled() -> list[Any]:
        found = explainer.explain(other(), case.image, case.targets, segments)
        return [attribution.values for attribution in found]

    name = explainer.name
    before = study.units.get(study.key("sane", case, asked=ASKED, method=name), own)
    after = study.units.get(
        study.key("insane", case, asked=ASKED, method=name, stage=stage), shuffled
    )
    if before is None or after is None:
        return
    for t, subject in enumerate(case.subjects):
        one, two = np.array(before[t]), np.array(after[t])
        yield {
            "world": study.world,
            "image": f"{study.world}/{case.name}",
            "detection": f"{study.architecture}/{study.world}/{case.name}/{t}",
            "kind": subject.kind,
            "method": name,
            "stage": stage,
            "spearman": fidelity.spearman(one, two),
            "magnitude": fidelity.spearman(np.abs(one), np.abs(two)),
        }


def classes(study: Study, sizes: Sizes) -> Iterator[Row]:
    """Correlation of the maps of two classes at one default box, one row a detection."""
    for case in study.cases(sizes.sanity_images.get(study.world, 0)):
        segments = study.segments(case, ASKED)
        for label, explainer in _class_methods(study, segments):
            yield from _contrast(study, case, label, explainer)


def _class_methods(study: Study, segments: SegmentArray) -> Iterator[tuple[str, Explainer]]:
    for name in (methods.OURS, "e2x", *LAYERED):
        explainer = _explainer(study, name, segments)
        if explainer is not None:
            yield name, explainer


def _contrast(study: Study, case: Case, label: str, explainer: Explainer) -> Iterator[Row]:
    segments, others = study.segments(case, ASKED), what_if(study, case.targets)

    def compute() -> list[float]:
        found = explainer.explain(study.detector, case.image, [*case.targets, *others], segments)
        maps = [attribution.pixel_map() for attribution in found]
        half = len(case.targets)
        return [fidelity.pearson(maps[t], maps[half + t]) for t in range(half)]

    key = study.key("classes", case, asked=ASKED, method=label)
    for t, rho in enumerate(study.units.get(key, compute) or ()):
        yield {
            "world": study.world,
            "architecture": study.architecture,
            "image": f"{study.world}/{case.name}",
            "detection": f"{study.architecture}/{study.world}/{case.name}/{t}",
            "method": label,
            "rho": rho,
        }
