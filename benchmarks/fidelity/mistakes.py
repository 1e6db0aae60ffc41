"""Look-alikes and bad boxes: is what drives the wrong class found, and what pulls the box?

Look-alikes are planted in the street world, with a mask; whether the signs of a map are right is
told by converged values. A pull on a box is planted into a real detector: one of the four offsets
of a default box is moved while one superpixel near the object is shown, in proportion to how much
of it is, by as much as the strongest superpixel that the detector has by itself, or twice. All else
that the network does to the box stays. The images are of a seed that nothing was chosen by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.fidelity import methods
from benchmarks.fidelity.cases import Case
from benchmarks.fidelity.faithfulness import RULES, TOLERANCE, row_of
from benchmarks.fidelity.references import ASKED, KIND, REFERENCE_SEED
from benchmarks.fidelity.rivals import SEED
from benchmarks.fidelity.sizes import Sizes
from benchmarks.fidelity.study import Study
from curation import explain, superpixels
from curation.explain import fidelity
from curation.explain.base import masked_scores
from curation.explain.checks.reference import converged_reference
from curation.explain.hurting import hurting_regions
from curation.explain.questions import Asked, Question, answers
from curation.explain.what import OFFSETS, What
from curation.kernel.types import Attribution, Box, FloatArray
from curation.superpixels import SegmentArray
from retrain.detector import SsdDetector

NAMES = (methods.OURS, "kernel_shap", "leverage_shap", "lime")
STRENGTHS = (1.0, 2.0)
TOP = 5
"""Of the superpixels that support a look-alike most."""
Row = dict[str, Any]


class Pulled:
    """A detector whose boxes are pulled by superpixels.

    Args:
        detector: what it is otherwise.
        inputs: [1, 3, h, w] of the image that is explained: its superpixels pull when shown.
        segments: [h, w].
        pulls: default box, column of the offsets and superpixel, with what the offset gains.
    """

    def __init__(
        self,
        detector: SsdDetector,
        inputs: torch.Tensor,
        segments: SegmentArray,
        pulls: dict[tuple[int, int, int], float],
    ) -> None:
        self._detector, self._pulls = detector, pulls
        self._inputs = inputs
        self._labels = torch.from_numpy(segments.astype(np.int64)).to(inputs.device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def outputs(
        self, inputs: torch.Tensor, default_boxes: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of the detector, offsets moved."""
        logits, offsets = self._detector.outputs(inputs, default_boxes)
        moved = offsets.clone()
        for (box, column, segment), gain in self._pulls.items():
            if box in default_boxes:
                shown = self._shown(inputs, segment)
                moved[:, list(default_boxes).index(box), column] += gain * shown
        return logits, moved

    def _shown(self, inputs: torch.Tensor, segment: int) -> torch.Tensor:
        """[B] in 0..1: how much of a superpixel is left."""
        own = (self._inputs * (self._labels == segment))[0]  # [3, h, w]
        shown: torch.Tensor = (inputs * own).sum(dim=(1, 2, 3)) / (own**2).sum().clamp_min(1e-12)
        return shown


def offsets(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a detection, offset, strength and method."""
    for case in study.cases(sizes.pulled_images.get(study.world, 0), seed=SEED):
        key = study.key("pulled", case, asked=ASKED, names=NAMES, strengths=STRENGTHS)
        for found in study.units.get(key, partial(_pulled, study, case)) or ():
            subject = case.subjects[found["subject"]]
            yield row_of(study, case, subject, found["method"]) | found


def _pulled(study: Study, case: Case) -> list[Row]:
    segments = study.segments(case, ASKED)
    # the image and the targets decide what is planted, and not the order of the cases
    rng = np.random.default_rng([SEED, superpixels.count(segments), len(case.targets)])
    # two classes of one default box have one box
    boxes = {subject.target.default_box: t for t, subject in enumerate(case.subjects)}
    asked = [
        Question(what, box, case.targets[t].label) for box, t in boxes.items() for what in OFFSETS
    ]
    subjects = [t for t in boxes.values() for _ in OFFSETS]
    plain = answers(explain.get(methods.OURS), study.detector, case.image, asked, segments)
    inputs = study.detector.preprocess([case.image])
    places = [int(rng.choice(_near(segments, case, t))) for t in subjects]
    ways = rng.choice([-1.0, 1.0], len(asked))
    rows = []
    for strength in STRENGTHS:
        harm = [way * strength * _most(one) for way, one in zip(ways, plain, strict=True)]
        pulls = {
            (one.default_box, OFFSETS.index(one.what), place): _as_offset(one.what, by)
            for one, place, by in zip(asked, places, harm, strict=True)
        }
        pulled: Any = Pulled(study.detector, inputs, segments, pulls)
        for name in NAMES:
            explainer = explain.get(name, num_samples=explain.default(methods.OURS, "num_samples"))
            start = methods.clock(study.detector.device)
            found = answers(explainer, pulled, case.image, asked, segments)
            seconds = (methods.clock(study.detector.device) - start) / len(asked)
            for number, attribution in enumerate(found):
                told = _told(
                    pulled,
                    case,
                    asked[number],
                    attribution,
                    case.subjects[subjects[number]].box_xyxy,
                    (places[number], float(ways[number])),
                )
                rows.append(
                    {
                        "subject": subjects[number],
                        "what": str(asked[number].what),
                        "strength": strength,
                        "method": name,
                        "seconds": seconds,
                    }
                    | told
                )
    return rows


def _most(attribution: Attribution) -> float:
    return float(np.abs(attribution.values).max())


def _as_offset(what: What, by: float) -> float:
    """What is asked as left and up is an offset to the right and down."""
    return -by if what in (What.LEFT, What.UP) else by


def _told(
    pulled: Any,
    case: Case,
    question: Question,
    attribution: Attribution,
    box: Box,
    planted: tuple[int, float],
) -> Row:
    """Of one offset, whose error is the way, 1 or -1, in which the planted superpixel pulls."""
    place, way = planted
    segments, false = attribution.segments, way > 0
    values = attribution.for_regions()[0]
    row: Row = {
        "first": float(int(np.argmax(way * values)) == place),
        "sign": float(way * float(attribution.values[place]) > 0),
        "hit": 0.0,
        "helps": 0.0,
        "whole": 0.0,
    }
    size_wh = (case.image.shape[1], case.image.shape[0])
    regions = hurting_regions(attribution, false, size_wh, RULES, box)[:1]
    if not regions:
        return row
    members = list(regions[0].segments)
    strongest = members[int(np.argmax(way * values[members]))]
    point = fidelity.inner_point(segments, [strongest])
    mask = segments == place
    row["hit"] = float(fidelity.pointing_hit(point, mask, TOLERANCE * max(segments.shape)))
    row["whole"] = float(place in members)
    kept = np.ones((2, len(values)), np.float32)
    kept[1, members] = 0
    asked: Any = Asked(pulled, [question])
    inputs = pulled.preprocess([case.image])
    before, after = masked_scores(asked, inputs, segments, kept, asked.targets, KIND)[:, 0]
    row["helps"] = float(way * (after - before) < 0)
    return row


def _near(segments: SegmentArray, case: Case, t: int) -> np.ndarray:
    """Superpixels whose middle lies in twice the box's sides; of the nearest where none does."""
    size = np.array([case.image.shape[1], case.image.shape[0]], np.float64)
    corners = np.array(case.subjects[t].box_xyxy, np.float64).reshape(2, 2)
    half = np.maximum((corners[1] - corners[0]) * RULES.focus_scale, size * RULES.focus_min_share)
    away = np.abs(
        superpixels.centroids_xy(segments) * (size / segments.shape[::-1]) - corners.mean(axis=0)
    )
    inside = np.flatnonzero((away <= half / 2).all(axis=1))
    return inside if len(inside) else np.array([int(away.sum(axis=1).argmin())])


def lookalikes(study: Study, sizes: Sizes) -> Iterator[Row]:
    """One row a planted look-alike and method: signs of what supports it most."""
    if study.world != "street":
        return
    left = sizes.lookalike_images
    for case in study.cases(sizes.rival_planted, True, seed=SEED):
        false = [t for t, subject in enumerate(case.subjects) if subject.kind == "FP"]
        if not false or not left:
            continue
        left -= 1
        segments = study.segments(case, ASKED)
        pairs = sizes.pairs_per_segment * superpixels.count(segments)
        key = study.key("lookalike", case, asked=ASKED, pairs=pairs)
        known = study.units.get(key, partial(_converged, study, case, segments, false, pairs))
        for name in NAMES:
            samples = int(explain.default(methods.OURS, "num_samples"))
            found = study.maps(case, ASKED, name, samples)
            if found is None or known is None:
                continue
            for row, t in enumerate(false):
                truth: FloatArray = -np.array(known[row], np.float32)
                ours: FloatArray = -np.array(found["values"][t], np.float32)
                yield row_of(study, case, case.subjects[t], name) | {
                    "sign": fidelity.sign_agreement(ours, truth, TOP),
                    "rho": fidelity.pearson(ours, truth),
                }


def _converged(
    study: Study, case: Case, segments: SegmentArray, rows: Sequence[int], pairs: int
) -> list[Any]:
    targets = [case.targets[row] for row in rows]
    found = converged_reference(
        study.detector, case.image, targets, segments, KIND, pairs, REFERENCE_SEED
    )
    return list(found.values)
