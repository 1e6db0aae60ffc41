"""Rivals on their own ground, and on ours: which explanation names what a detector stands on?

On found objects each method's map says which pixels go first: into an empty image (insertion) and
out of the whole one (deletion), as published for maps of pixels. A superpixel's value is parted
among its pixels. On planted failures the most harmful region is deleted and compared with the
cause, by methods whose maps are signed. The images are of a seed that nothing was chosen by.

Two costs: ``equal``, where every method that masks has as many passes, and ``published``, what its
paper or code takes. Methods that look at layers have one cost. VX-CODE searches for insertion and
for deletion by themselves, as published; the row ``vx_code`` has each curve from its own map and
pays for both. ``gp_shap in context`` does the same from one set of masks: weighted Banzhaf values
for few shown superpixels order the insertion, those for many the deletion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.fidelity import methods
from benchmarks.fidelity.cases import Case, Subject
from benchmarks.fidelity.faithfulness import RULES, gains, members_of, pointed, row_of
from benchmarks.fidelity.references import ASKED
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study, passes_of
from curation import explain, superpixels
from curation.explain import fidelity
from curation.explain.gp_shap import GPShap
from curation.explain.hurting import hurting_regions
from curation.explain.methods.d_rise import fill_colour, hide, survival
from curation.explain.methods.target_score import target_boxes
from curation.kernel.types import Attribution, FloatArray
from curation.regions import RegionRules
from curation.superpixels import SegmentArray, warp

SEED = 24
HARM_SEED = 25
"""Of planted failures: those of 24 showed that what was named was not what had been removed."""
EQUAL = 128
"""Passes, the default's; of an image, and for VX-CODE, which shares none, of each map."""
STEPS = 13
FEW_SHOWN, MOST_SHOWN = 0.25, 0.75
"""Shares of the superpixels shown at which insertion and deletion are judged in context."""
IN_CONTEXT = f"{methods.OURS} in context"
UNSIGNED = ("odam", "d_close", "vx_code")
"""Maps that are never negative name nothing that hurts an object."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rival:
    """One method at one cost.

    Attributes:
        label: of its rows.
        tier: "equal", "published" or "layers".
        name: in the registry.
        given: its parameters; of both searches where there are two.
        two_maps: whether insertion and deletion are searched for by themselves.
    """

    label: str
    tier: str
    name: str
    given: Row = field(default_factory=dict)
    two_maps: bool = False


_MASKS_ALONE: Row = {"num_samples": EQUAL, "first_samples": 0}


def _cheap(name: str) -> Rival:
    return Rival(name, "equal", name, {"num_samples": EQUAL})


RIVALS = (
    _cheap(methods.OURS),
    Rival(IN_CONTEXT, "equal", methods.OURS, {"num_samples": EQUAL}, two_maps=True),
    *(_cheap(name) for name in ("kernel_shap", "leverage_shap", "lime", "e2x")),
    Rival("odam", "layers", "odam"),
    Rival("g_came", "layers", "g_came"),
    Rival("d_rise", "equal", "d_rise", {"num_masks": EQUAL}),
    Rival("d_close", "equal", "d_close", {"num_masks": EQUAL}),
    Rival("vx_code", "equal", "vx_code", {"max_patches": 15}, two_maps=True),
    Rival("random", "equal", "random"),
    Rival("d_rise published", "published", "d_rise", {"num_masks": 5000}),
    Rival("d_close published", "published", "d_close", {"num_masks": 4000}),
    Rival("vx_code published", "published", "vx_code", {"max_patches": 576}, two_maps=True),
)


HARMS = (
    Rival(methods.OURS, "equal", methods.OURS, {"num_samples": EQUAL}),
    Rival(f"{methods.OURS} masks alone", "equal", methods.OURS, _MASKS_ALONE),
    Rival(methods.ROUGH, "equal", methods.OURS, {"num_samples": EQUAL, "smooth": False}),
    *(
        rival
        for rival in RIVALS
        if rival.name != methods.OURS and not rival.two_maps and rival.tier != "published"
    ),
)
"""Whose regions are removed from planted failures; those of ours also without any check, and
without the belief that neighbours do alike."""


def curves(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a detection and method: areas under both curves, and processor seconds."""
    few = sizes.published_images.get(study.world, 0)
    for number, case in enumerate(study.cases(sizes.rival_images.get(study.world, 0), seed=SEED)):
        for rival in RIVALS:
            if rival.tier == "published" and number >= few:
                continue
            key = study.key(
                "rival curves", case, asked=ASKED, label=rival.label, given=_given(rival)
            )
            found = study.units.get(key, partial(_curves, study, case, rival))
            for subject, areas in zip(case.subjects, found or (), strict=False):
                yield row_of(study, case, subject, rival.label) | {"tier": rival.tier} | areas


def harms(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a planted failure and method: does the deletion help, is it the cause?"""
    if study.world != "street":
        return
    ours = [rival for rival in HARMS if rival.name == methods.OURS]
    signed = [rival for rival in HARMS if rival not in ours and rival.name not in UNSIGNED]
    cases = study.cases(sizes.rival_planted, True, seed=HARM_SEED)
    for group in (ours, signed):  # rivals, which take most of the time, last
        for case in cases:
            for rival in group:
                yield from harm_of(study, case, rival, "rival harms")


def harm_of(study: Study, case: Case, rival: Rival, unit: str) -> Iterator[Row]:
    """One row a planted failure of an image, by one method."""
    key = study.key(unit, case, asked=ASKED, label=rival.label, given=_given(rival))
    found = study.units.get(key, partial(_harms, study, case, rival))
    counted = rival.tier == "equal" and rival.given  # random and layers take hardly any passes
    for subject, told in zip(case.subjects, found or (), strict=False):
        spent: Row = {} if counted else {"passes": None, "passes_each": None}
        yield row_of(study, case, subject, rival.label) | told | spent


def _given(rival: Rival) -> Row:
    """Parameters by which a kept unit is known: of ours all, since its defaults change."""
    if rival.name != methods.OURS:
        return rival.given
    return dict(explain.get(rival.name, **rival.given).parameters)


def _explainer(study: Study, rival: Rival, segments: SegmentArray, **more: Any) -> Any:
    given = {**rival.given, **more}
    if rival.name in methods.GRADIENT:
        return methods.at_cost(rival.name, EQUAL, study.price(), superpixels.count(segments))
    return explain.get(rival.name, **given)


def _maps(study: Study, case: Case, rival: Rival) -> tuple[list[FloatArray], list[FloatArray]]:
    """Pixels [h, w] of every detection, by which insertion and by which deletion is ordered."""
    segments = study.segments(case, ASKED)
    asked = study.detector, case.image, case.targets, segments
    if rival.label == IN_CONTEXT:
        known = GPShap(**rival.given).posteriors(*asked)
        orders = [
            [parted(posterior.banzhaf(share)[0], segments) for posterior in known]
            for share in (FEW_SHOWN, MOST_SHOWN)
        ]
        return orders[0], orders[1]
    if rival.two_maps:
        inserted, deleted = (
            _explainer(study, rival, segments, mode=mode).explain(*asked)
            for mode in ("insertion", "deletion")
        )
        return [a.pixel_map() for a in inserted], [a.pixel_map() for a in deleted]
    maps = [pixels_of(one) for one in _explainer(study, rival, segments).explain(*asked)]
    return maps, maps


def pixels_of(attribution: Attribution) -> FloatArray:
    """[h, w]: a method's own pixels, or each superpixel's value parted among its pixels."""
    if attribution.pixels is not None:
        return attribution.pixels
    return parted(attribution.values, attribution.segments)


def parted(values: FloatArray, segments: SegmentArray) -> FloatArray:
    """[h, w]: each superpixel's value [S] over its area."""
    each: FloatArray = (values / superpixels.areas(segments)).astype(np.float32)
    return each[segments]


def _curves(study: Study, case: Case, rival: Rival) -> list[Row]:
    start = methods.clock(study.detector.device)
    inserted, deleted = _maps(study, case, rival)
    seconds = (methods.clock(study.detector.device) - start) / len(case.subjects)
    small = warp(case.image, study.detector.input_size_hw)
    aims = target_boxes(study.detector, small, case.targets)
    rows = []
    for t, target in enumerate(case.targets):
        row: Row = {"seconds": seconds}
        for order, pixels in (("insertion", inserted[t]), ("deletion", deleted[t])):
            shares, masks = pixel_masks(pixels, order == "insertion")
            views = [hide(small, mask, fill_colour(study.detector, "mean")) for mask in masks]
            seen = study.detector.propose(views)
            box, label = target.default_box, target.label
            fixed = np.array([float(one.probabilities[box, label]) for one in seen])
            alike = np.array([float(survival(one, aims[t][None], [label])[0]) for one in seen])
            row[order] = fidelity.area_under(shares, fixed)
            row[f"{order}_alike"] = fidelity.area_under(shares, alike)
        row["gap"] = row["insertion"] - row["deletion"]
        row["gap_alike"] = row["insertion_alike"] - row["deletion_alike"]
        rows.append(row)
    return rows


def pixel_masks(pixels: FloatArray, insertion: bool) -> tuple[np.ndarray, Sequence[FloatArray]]:
    """Shares [N] of changed pixels and masks N of [h, w], the greatest first; ties by place."""
    first = np.argsort(-pixels.ravel().astype(np.float64), kind="stable")
    counts = np.linspace(0, len(first), STEPS).round().astype(int)
    masks = []
    for count in counts:
        mask = np.full(pixels.size, 0.0 if insertion else 1.0, np.float32)
        mask[first[:count]] = 1.0 if insertion else 0.0
        masks.append(mask.reshape(pixels.shape))
    return counts / len(first), masks


def _harms(study: Study, case: Case, rival: Rival) -> list[Row]:
    segments = study.segments(case, ASKED)
    explainer = _explainer(study, rival, segments)
    found = explainer.explain(study.detector, case.image, case.targets, segments)
    rows = []
    for subject, attribution in zip(case.subjects, found, strict=True):
        passes = passes_of(attribution, EQUAL)
        spent = {"passes": passes, "passes_each": passes / len(case.subjects)}
        rows.append(harm_told(study, case, subject, attribution) | spent)
    return rows


def harm_told(
    study: Study,
    case: Case,
    subject: Subject,
    attribution: Attribution,
    rules: RegionRules = RULES,
) -> Row:
    """Of the region that does most harm; a map that names none helps nobody and points nowhere."""
    size_wh = (case.image.shape[1], case.image.shape[0])
    false = subject.kind == "FP"
    regions = hurting_regions(attribution, false, size_wh, rules, subject.box_xyxy)[:1]
    row: Row = {"named": float(bool(regions)), "helps": 0.0, "gain": 0.0}
    if regions:
        (raised,) = gains(study, case, attribution, [members_of(regions[0], attribution)])
        gained = -float(raised) if false else float(raised)
        row |= {"helps": float(gained > 0), "gain": gained}
    told = pointed(case, subject, attribution, rules)
    return row | {"hit": told["hit"], "chance": told["chance"]}
