"""The paper's figure 2: correlation with a LIME and a PDA reference against detections a second.

Maps of pixels in the unit of the paper, the probability. ``seconds`` are of a detection of an
image whose detections are explained together, ``seconds_alone`` of one by itself, which is how
the published code runs every method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.fidelity import methods
from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.references import REFERENCE_SEED
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import explain
from curation.explain import fidelity
from curation.kernel.detector import ScoreKind

MOST = 8
"""Detections of an image: as many as share its passes in the loop."""
ASKED, REFERENCE_ASKED = 200, 1000
TRUNCATED = 100
KIND = ScoreKind.PROBABILITY
E2X_SAMPLES = (8, 16, 32, 64, 128)
LIME_SAMPLES = (200, 500, 2000)
OUR_SAMPLES = (32, 64, 96, 128, 192, 320)
PATH_SAMPLES = 32
LIME_REFERENCE, PDA_REFERENCE = "reference LIME", "reference PDA"
Row = dict[str, Any]
Method = tuple[str, str, Row]
"""Label, registry name, parameters."""


def figure2(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a detection and method; PDA, the slowest by far, comes last and on fewer images."""
    cases = study.cases(sizes.figure2_images.get(study.world, 0), most=MOST)
    for case in reversed(cases):
        for asked in sizes.figure2_asked:
            yield from _rows(study, case, sizes, "lime", _methods(), asked)
    for case in cases[: sizes.pda_images.get(study.world, 0)]:
        names = [*_methods(), *_pda(sizes)]
        yield from _rows(study, case, sizes, "pda", names)
        yield from _rows(study, case, sizes, "lime", _pda(sizes))


def _rows(
    study: Study,
    case: Case,
    sizes: Sizes,
    reference: str,
    wanted: Iterable[Method],
    asked: int = ASKED,
) -> Iterator[Row]:
    known = _reference(study, case, sizes, reference)
    if known is None:
        return
    for label, name, given in wanted:
        found = _maps(study, case, label, name, given, asked)
        if found is None:
            continue
        alone = _alone(study, case, label, name, given) if asked == ASKED else None
        for t, subject in enumerate(case.subjects):
            yield {
                "world": study.world,
                "image": f"{study.world}/{case.name}",
                "detection": f"{study.architecture}/{study.world}/{case.name}/{t}",
                "kind": subject.kind,
                "reference": reference,
                "asked": asked,
                "method": label,
                "seconds": float(found["seconds"]) / len(case.subjects),
                "seconds_alone": alone,
                **{
                    f"rho_{key}": fidelity.pearson(found["maps"][t], maps[t])
                    for key, maps in known.items()
                },
            }


def _methods() -> Iterator[Method]:
    noise = {"fill": "noise"}
    for samples in OUR_SAMPLES:
        yield f"{methods.OURS} {samples}", methods.OURS, {"num_samples": samples}
    for samples in E2X_SAMPLES:
        yield f"e2x {samples}", "e2x", {"num_samples": samples}
    for samples in LIME_SAMPLES:
        yield f"lime {samples}", "lime", {"num_samples": samples, **noise}
    yield "ig 32", "integrated_gradients", {"num_samples": PATH_SAMPLES}
    yield "ig_sx 32", "integrated_gradients_segments", {"num_samples": PATH_SAMPLES}


def _pda(sizes: Sizes) -> Iterator[Method]:
    for stride in sorted(sizes.pda_strides, reverse=True):
        yield f"pda {stride}", "pda", {"stride_px": stride}


def _reference(study: Study, case: Case, sizes: Sizes, name: str) -> dict[str, Any] | None:
    """Maps of a reference; the LIME one also with its strongest superpixels alone."""
    if name == "pda":
        stride, draws = sizes.pda_reference
        given: Row = {"stride_px": stride, "num_draws": draws, "seed": REFERENCE_SEED}
        pda = _maps(study, case, PDA_REFERENCE, "pda", given, ASKED)
        return None if pda is None else {"pda": pda["maps"]}
    given = {"num_samples": sizes.lime_reference, "fill": "noise", "seed": REFERENCE_SEED}
    lime = _maps(study, case, LIME_REFERENCE, "lime", given, REFERENCE_ASKED)
    if lime is None:
        return None
    return {"lime": lime["maps"], "lime_truncated": _truncated(study, case, lime["maps"])}


def _truncated(study: Study, case: Case, maps: Any) -> Any:
    """The strongest 100 superpixels of each map, the others zero, as published."""
    segments = study.segments(case, REFERENCE_ASKED)
    _, first = np.unique(segments.ravel(), return_index=True)
    kept = []
    for pixels in maps:
        values = pixels.ravel()[first].copy()  # [S]
        values[np.argsort(-np.abs(values), kind="stable")[TRUNCATED:]] = 0
        kept.append(values[segments])
    return np.stack(kept)


def _maps(
    study: Study, case: Case, label: str, name: str, given: Row, asked: int
) -> dict[str, Any] | None:
    """Maps [T, h, w] and seconds for all detections of an image together."""
    if name not in explain.names():
        return None
    explainer = explain.get(name, kind=KIND, **given)

    def compute() -> dict[str, Any]:
        segments = study.segments(case, asked)
        start = methods.clock(study.detector.device)
        found = explainer.explain(study.detector, case.image, case.targets, segments)
        seconds = methods.clock(study.detector.device) - start
        maps = np.stack([attribution.pixel_map() for attribution in found])
        return {"maps": maps.astype(np.float32), "seconds": np.float64(seconds)}

    key = study.key("figure2", case, label=label, given=given, asked=asked)
    return study.units.arrays(key, compute)


def _alone(study: Study, case: Case, label: str, name: str, given: Row) -> float | None:
    """Seconds of one detection of an image by itself; None where a run would take too long."""
    if name not in (methods.OURS, "e2x", "lime") or given["num_samples"] > max(E2X_SAMPLES) * 4:
        return None
    explainer = explain.get(name, kind=KIND, **given)
    one = replace(case, subjects=case.subjects[:1])

    def compute() -> float:
        segments = study.segments(case, ASKED)
        start = methods.clock(study.detector.device)
        explainer.explain(study.detector, case.image, one.targets, segments)
        return methods.clock(study.detector.device) - start

    seconds: float | None = study.units.get(study.key("alone", one, label=label), compute)
    return seconds
