"""Who competes: a policy, and which regions of the failures it may ask with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from benchmarks.loop.prepare import NO_REGIONS, Prepared
from curation import select
from curation.select import Budget, Candidate, Need, Policy, SelectionRequest, plan
from curation.select.base import Ledger
from services.config.setting_groups import SelectionSettings


@dataclass(frozen=True, slots=True)
class OracleSelection:
    """The ceiling: knows which images hold a cause, takes the causes in turn.

    Attributes:
        planted: by image, the causes in it.
        max_distance: bits by which near-duplicates differ at most.
    """

    planted: Mapping[str, frozenset[str]]
    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name among the arms."""
        return "oracle"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``."""
        ledger = Ledger(request, self.max_distance)
        pool = ledger.eligible()
        shuffled = [pool[row] for row in request.rng.permutation(len(pool))]
        causes = sorted({cause for names in self.planted.values() for cause in names})
        waiting = [iter([i for i in shuffled if c in self.planted[i.image]]) for c in causes]
        while waiting:
            for images in list(waiting):
                image = next(images, None)
                if image is None:
                    waiting.remove(images)
                    continue
                cost = image.cost_boxes
                ledger.take(image, Candidate(image.image, 1.0, None, "oracle", cost))
        return ledger.result()


@dataclass(frozen=True, slots=True)
class Arm:
    """A competitor.

    Attributes:
        name: in tables.
        policy: in the registry of policies, or "oracle".
        variant: of the query regions, see ``worlds.VARIANTS``, or none.
        explains: whether it uses an explanation; the others are rivals of T3.
        knows: whether it is told what the detector was trained on.
        coverage: share of the budget for images unlike all others, of ``e2x``.
        field: whether the failing frames that teach are trained on too, at no labelling cost.
        taught: how much their boxes count of what their mode is due, of ``e2x``.
    """

    name: str
    policy: str
    variant: str = "negative"
    explains: bool = False
    knows: bool = True
    coverage: float = 0.0
    field: bool = False
    taught: float = 0.0

    def make(self) -> Policy:
        """Its policy, as the registry has it."""
        if self.policy != "e2x":
            return select.get(self.policy)
        return select.get(self.policy, coverage=self.coverage, taught=self.taught)


ARMS = (
    Arm("random", "random"),
    Arm("entropy", "entropy"),
    Arm("entropy_sum", "entropy_sum"),
    Arm("core_set", "core_set"),
    Arm("k_means", "k_means"),
    Arm("whole_image", "whole_image"),
    Arm("coverage_neighbours", "coverage_neighbours"),
    Arm("talisman", "talisman"),
    Arm("ppal", "ppal"),
    Arm("e2x", "e2x", "negative", True),
    Arm("e2x_random_regions", "e2x", "random"),
    Arm("e2x_positive_regions", "e2x", "positive", True),
    Arm("e2x_box", "e2x", "box"),
    Arm("e2x_no_regions", "e2x", NO_REGIONS),
    Arm("e2x_no_novelty", "e2x", "negative", True, knows=False),
    Arm("e2x_coverage", "e2x", "negative", True, coverage=0.1),
    Arm("oracle", "oracle"),
)
FIELD_FRAMES = "field_frames"
"""Trains on the failing frames that teach, and asks for no label: the rival of all that do."""


@dataclass(frozen=True, slots=True)
class Deal:
    """How the failing frames of a mode are dealt.

    Attributes:
        share: of its frames that teach, in 0..1.
        lone_teaches: whether a mode's only frame does.
    """

    share: float = SelectionSettings().learn_from_field
    lone_teaches: bool = True


DEALS = {
    FIELD_FRAMES: Deal(),
    f"{FIELD_FRAMES}_quarter": Deal(0.25),
    f"{FIELD_FRAMES}_three_quarters": Deal(0.75),
    f"{FIELD_FRAMES}_lone_judges": Deal(lone_teaches=False),
}
"""The frames alone: as the service deals them by default, and otherwise."""
FIELD_ARMS = tuple(
    Arm(f"{FIELD_FRAMES}_{policy}", policy, explains=policy == "e2x", field=True)
    for policy in ("e2x", "random", "oracle", "whole_image", "talisman")
)
"""The same frames, and pool images on top."""
COUNTED = Arm(f"{FIELD_FRAMES}_e2x_counted", "e2x", explains=True, field=True, taught=1.0)
"""What a mode's frames teach is taken off what it is due."""
BY_NAME = {arm.name: arm for arm in (*ARMS, *FIELD_ARMS, COUNTED)}


def choose(arm: Arm, prepared: Prepared, budget: Budget) -> list[Candidate]:
    """What an arm asks for, in its order of choice; the same world and seed, the same answer."""
    samples = prepared.samples
    useful = prepared.world.useful(list(samples.values()))
    planted = dict(zip(samples, useful, strict=True))
    policy: Policy = OracleSelection(planted) if arm.policy == "oracle" else arm.make()
    request = SelectionRequest(
        pool=prepared.pool,
        queries=prepared.queries(arm.variant),
        budget=budget,
        rng=np.random.default_rng(prepared.world.seed),
        index=prepared.index,
        excluded_hashes=prepared.excluded_hashes,
        labelled=prepared.labelled if arm.knows else None,
        difficulty=prepared.difficulty,
        known=prepared.known if arm.knows else None,
    )
    if Need.WHOLE_POOL not in policy.needs:  # as the service asks: the index first
        spent = budget.boxes if budget.boxes is not None else budget.images or 0
        near = plan.shortlist(request.queries, prepared.index, spent)
        proposed = [image for image in prepared.pool if image.image in near]
        request = replace(request, pool=proposed, is_proposed=True)
    return plan.decide(policy, request)
