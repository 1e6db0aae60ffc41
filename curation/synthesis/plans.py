"""Modes and a budget to plans: which known object is put into which surroundings that hurt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curation.synthesis import scenes
from curation.synthesis.base import Donor, Harm, Plan, Scene, Staging
from curation.synthesis.geometry import MAX_SCALE
from curation.synthesis.known import unlike


@dataclass(frozen=True, slots=True, eq=False)
class ModeHarm:
    """What hurt in one failure mode.

    Attributes:
        mode: its key.
        staging: ``SURROUND`` or ``INSERT`` for objects that were missed, ``LOOKALIKE`` for false
            detections.
        harms: by failure of the mode, what hurt there.
    """

    mode: str
    staging: Staging
    harms: tuple[tuple[str, Harm], ...]


@dataclass(frozen=True, slots=True, eq=False)
class SynthesisRequest:
    """What is wanted of a cycle.

    Attributes:
        modes: served in turn, in this order.
        donors: known objects that the champion finds.
        harmless: surroundings of found objects, for controls.
        scenes: places at which nothing stands, for look-alikes.
        budget: samples to keep.
        candidates: drawn for each sample that is to be kept.
        controls: share of the budget that is drawn as controls, in 0..1.
        parent_share: of all plans, that one picture may give pixels to; one plan at least.
        seed: of all draws.
    """

    modes: Sequence[ModeHarm]
    donors: Sequence[Donor]
    harmless: Sequence[Harm]
    budget: int
    candidates: int = 3
    controls: float = 0.25
    parent_share: float = 0.1
    seed: int = 0
    scenes: Sequence[Scene] = ()

    def __post_init__(self) -> None:
        if self.budget < 0 or self.candidates < 1:
            raise ValueError("budget must be at least 0 and candidates at least 1")
        if not 0 <= self.controls <= 1 or not 0 < self.parent_share <= 1:
            raise ValueError("controls must lie in 0..1 and parent_share in (0, 1]")


def plan(request: SynthesisRequest) -> list[Plan]:
    """The samples to draw, in the order of drawing.

    Modes take turns; within a mode failures take turns by weight, and each takes the known object
    of its class that is nearest in size and shape among those that were used least. No picture
    gives pixels to more than ``parent_share`` of what is asked for, so that neither a frame nor a
    known object is learned by heart. Controls come last, with the known objects of the samples.

    Returns:
        At most ``budget * candidates`` plans; fewer, where pictures run out. The same request,
        the same plans.
    """
    total = request.budget * request.candidates
    controls = round(total * request.controls)
    most = max(1, int(total * request.parent_share))
    used: Counter[str] = Counter()
    rng = np.random.default_rng(request.seed)
    turns = [_turns(mode, _known(mode, request), used, most, rng) for mode in request.modes]
    plans: list[Plan] = []
    while turns and len(plans) < total - controls:
        for turn in list(turns):
            found = next(turn, None)
            if found is None:
                turns.remove(turn)
            elif len(plans) < total - controls:
                plans.append(found)
    plans += _controls(plans, request, used, most, controls, rng)
    return plans


def _known(mode: ModeHarm, request: SynthesisRequest) -> Sequence[Donor | Scene]:
    return request.scenes if mode.staging.is_alike else request.donors


def _turns(
    mode: ModeHarm,
    donors: Sequence[Donor | Scene],
    used: Counter[str],
    most: int,
    rng: np.random.Generator,
) -> Iterator[Plan]:
    """Plans of one mode, as long as there are pictures."""
    taken: dict[str, set[tuple[str, int | str]]] = {failure: set() for failure, _ in mode.harms}
    turns = np.zeros(len(mode.harms))
    weights = np.array([harm.weight for _, harm in mode.harms])
    order = rng.permutation(len(mode.harms))
    spent: set[int] = set()
    while len(spent) < len(order):
        # the failure that is most behind its share of the turns
        row = min((r for r in order if r not in spent), key=lambda r: turns[r] / weights[r])
        failure, harm = mode.harms[row]
        donor = _donor(harm, donors, used, most, taken[failure])
        if donor is None:
            spent.add(int(row))
            continue
        turns[row] += 1
        taken[failure].add((donor.image, donor.row))
        used.update({donor.image, harm.image})
        yield Plan(mode.mode, failure, mode.staging, int(rng.integers(2**31)), harm, donor)


def _donor(
    harm: Harm,
    donors: Sequence[Donor | Scene],
    used: Counter[str],
    most: int,
    taken: set[tuple[str, int | str]],
) -> Donor | Scene | None:
    if used[harm.image] >= most:
        return None
    free = [
        donor
        for donor in donors
        if donor.label == harm.label
        and donor.image != harm.image
        and used[donor.image] < most
        and (donor.image, donor.row) not in taken
        and unlike(donor.box_xyxy, harm.box_xyxy) < np.log(MAX_SCALE)
    ]
    if not free:
        return None
    return min(
        free, key=lambda d: (used[d.image], unlike(d.box_xyxy, harm.box_xyxy), d.image, str(d.row))
    )


def _controls(
    plans: Sequence[Plan],
    request: SynthesisRequest,
    used: Counter[str],
    most: int,
    count: int,
    rng: np.random.Generator,
) -> Iterator[Plan]:
    """The same operation on the same known objects and places, with what is known to do no harm."""
    own, plain = list(plans), [scenes.plain(one) for one in request.scenes]
    for row in rng.permutation(len(own))[:count]:
        sample = own[row]
        fitting = [
            harm
            for harm in (plain if sample.staging.is_alike else request.harmless)
            if harm.label == sample.donor.label
            and harm.image != sample.donor.image
            and used[harm.image] < most
            and unlike(sample.donor.box_xyxy, harm.box_xyxy) < np.log(MAX_SCALE)
        ]
        if not fitting:
            continue
        harm = fitting[int(rng.integers(len(fitting)))]
        used[harm.image] += 1
        seed = int(rng.integers(2**31))
        yield Plan(sample.mode, "", sample.staging.control, seed, harm, sample.donor)
