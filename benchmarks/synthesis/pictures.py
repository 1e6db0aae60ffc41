"""What drawn pictures cost, whether they can be drawn again, and whether their labels hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.common import bars
from benchmarks.synthesis.resampling import bootstrapped
from curation import synthesis
from curation.kernel.boxes import overlaps
from curation.synthesis import Donor, Drawn, Harm, ModeHarm, Staging, SynthesisRequest, plan
from curation.synthesis.cutout import cutout
from curation.synthesis.geometry import window
from services.demo import street

SECONDS, OVERLAP, LEAST_OVERLAP = 0.15, 0.9, 0.7
LEAST_SIDE_PX = 12


def measure(seeds: Sequence[int], scenes: int, count: int) -> dict[str, Any]:
    """Bars of pictures alone, on plain street scenes and their objects; no detector is asked.

    Args:
        seeds: of the worlds.
        scenes: of each world.
        count: samples drawn of each.
    """
    seconds, overlap, again = [], [], []
    for seed in seeds:
        donors = list(_donors(seed, scenes))
        overlap += [_kept_box(donor) for donor in donors]
        drawn = _drawn(donors, seed, count)
        seconds += [one.seconds for one in drawn]
        pairs = zip(drawn, _drawn(donors, seed, count), strict=True)
        again += [
            float(np.array_equal(first.image, second.image) and first.version == second.version)
            for first, second in pairs
        ]
    return {
        "G9": bars.entry(*bootstrapped(overlap), bound=OVERLAP),
        "G9_share": bars.entry(float(np.mean(np.array(overlap) >= LEAST_OVERLAP)), bound=0.95),
        "G11": bars.entry(float(np.mean(again)), bound=1.0),
        "G13": bars.entry(*bootstrapped(seconds), bound=SECONDS, sense="<="),
    }


def _donors(seed: int, scenes: int) -> Iterator[Donor]:
    for scene in street.generate(street.WorldConfig(), "seed", scenes, seed):
        for row, box in enumerate(scene.truth.boxes_xyxy):
            if min(box[2] - box[0], box[3] - box[1]) >= LEAST_SIDE_PX:
                yield Donor(scene.name, "train", scene.image, scene.truth, row, 1.0)


def _drawn(donors: Sequence[Donor], seed: int, count: int) -> list[Drawn]:
    harms = [(f"{n}", _harm(donor)) for n, donor in enumerate(donors)]
    labels = sorted({donor.label for donor in donors})
    modes = [
        ModeHarm(str(label), Staging.SURROUND, tuple(h for h in harms if h[1].label == label))
        for label in labels
    ]
    asked = SynthesisRequest(modes, donors, (), count, 1, 0.0, seed=seed)
    answers = synthesis.get("compose").draw(plan(asked))
    return [one for one in answers if isinstance(one, Drawn)]


def _harm(donor: Donor) -> Harm:
    """The surroundings of a known object, with its light."""
    left = donor.truth.without(donor.row)
    size_hw = donor.pixels.shape[0], donor.pixels.shape[1]
    mask = window(donor.box_xyxy, 2.0, size_hw)
    box, label = donor.box_xyxy, donor.label
    return Harm(donor.image, "train", donor.pixels, mask, box, label, left, light=True)


def _kept_box(donor: Donor) -> float:
    """Overlap of the label with the box around what is kept of the object's pixels."""
    kept = cutout(donor.pixels, donor.box_xyxy) > 0.5
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    if not len(rows):
        return 0.0
    around = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float64)
    return float(overlaps(donor.box_xyxy, around)[0])
