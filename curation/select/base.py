"""What a selection policy is given, what it returns, and the ledger that none can overdraw."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from curation.dedup import near_duplicates_of
from curation.index.metric import Metric
from curation.index.snapshot import ImageScores
from curation.kernel.errors import BudgetTooSmall
from curation.kernel.types import Box, Detections, FailureKind, FloatArray
from curation.select.novelty import KnownObjects


@dataclass(frozen=True, slots=True, eq=False)
class PoolImage:
    """An unlabelled image as a policy sees it.

    Attributes:
        image: its id.
        boxes_estimate: objects that a person would have to box, as the detector counts them.
        phash: 64-bit perceptual hash, None if unknown.
        detections: what the champion finds in it down to 1 %, None if it was not run.
        vector: [D] whole-image vector as stored, in half or single precision, None if unknown.
        rois: [N, W] float32 raw vector of each of the N detections' boxes, None if they were
            not embedded.
    """

    image: str
    boxes_estimate: float = 1.0
    phash: int | None = None
    detections: Detections | None = None
    vector: FloatArray | None = None
    rois: FloatArray | None = None

    def __post_init__(self) -> None:
        count = 0 if self.detections is None else len(self.detections)
        if self.rois is not None and len(self.rois) != count:
            raise ValueError(f"{self.image}: {len(self.rois)} region vectors, {count} detections")

    @property
    def cost_boxes(self) -> int:
        """Labelling cost: the estimate, at least 1, since an empty image is looked at too."""
        return max(1, round(self.boxes_estimate))


@dataclass(frozen=True, slots=True, eq=False)
class ModeQuery:
    """A failure mode as a search.

    Attributes:
        mode: its key.
        kind: of its failures.
        label: the class that was missed, or falsely found.
        vectors: [Q, W] float32 raw query regions.
        weights: [Q] float32 summing to 1.
        object_vector: [W] float32 raw, the missed or falsely found object.
        whole: [F, D] float32 whole-image vectors of its failures.
        size: number of its failures.
        objects: [F, W] float32 raw, the object of each failure; None: only their mean is known.
        taught: boxes of its own frames that teach already, or are asked for before any pool image.
    """

    mode: str
    kind: FailureKind
    label: int
    vectors: FloatArray
    weights: FloatArray
    object_vector: FloatArray | None = None
    whole: FloatArray | None = None
    size: float = 1.0
    objects: FloatArray | None = None
    taught: float = 0.0

    @property
    def targets(self) -> FloatArray:
        """[F, W] raw vectors of what was missed or falsely found, as far as they are known."""
        if self.objects is not None:
            return self.objects
        if self.object_vector is None:
            return np.zeros((0, self.vectors.shape[1]), np.float32)
        return self.object_vector[None]


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent; None is no limit, but one of the two must be set.

    Attributes:
        boxes: boxes that a person may be asked to draw.
        images: images that a person may be shown.
    """

    boxes: int | None = None
    images: int | None = None

    def __post_init__(self) -> None:
        if self.boxes is None and self.images is None:
            raise BudgetTooSmall("a budget needs a number of boxes or of images")


class RegionSearch(Protocol):
    """What a policy needs of a region index; ``RegionIndex`` is one."""

    @property
    def metric(self) -> Metric:
        """How its vectors are compared."""
        ...

    def score_images(
        self,
        queries: FloatArray,
        k: int = 1000,
        excluded: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> ImageScores:
        """For each image but the excluded the best similarity of its regions to queries [Q, W].

        Given ``only``, no search is made: these are scored, each by all of its regions.
        """
        ...


Look = Callable[[Sequence[PoolImage], bool], Iterable[PoolImage]]
"""Images, and whether vectors of their objects are wanted: the same images with detections."""


@dataclass(frozen=True, slots=True, eq=False)
class SelectionRequest:
    """One question: which images of the pool to label.

    Attributes:
        pool: distinct images.
        queries: failure modes; empty for policies that need none.
        budget: see there.
        rng: the only source of randomness.
        index: regions of the pool; None for policies that need none.
        excluded: ids never to be selected: labelled, queued, held out; nor are near-duplicates of
            those that the pool holds.
        excluded_hashes: perceptual hashes whose near-duplicates are never selected.
        labelled: [L, D] float32 whole-image vectors of what is trained on already, or of a sample
            of it, None if unknown; images unlike them are preferred by policies that cover.
        difficulty: [K] float32 in 0..1 for each class, such as 1 - AP on a validation set; None
            takes all classes as equally hard.
        known: objects that were trained on before any failure asked for more, None if unknown:
            then nothing is told about which failures are of a kind that the training set lacks.
        is_proposed: the pool is what the index proposed, so that it is scored without a search.
        look: gives images of the pool with what they are asked for, a batch at a time; None: the
            pool has it. See ``looking``.
    """

    pool: Sequence[PoolImage]
    queries: Sequence[ModeQuery]
    budget: Budget
    rng: np.random.Generator
    index: RegionSearch | None = None
    excluded: frozenset[str] = frozenset()
    excluded_hashes: tuple[int, ...] = ()
    labelled: FloatArray | None = None
    difficulty: FloatArray | None = None
    known: KnownObjects | None = None
    is_proposed: bool = False
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A region of a candidate that answered a query.

    Attributes:
        query: row of the mode's query regions, -1 for the object.
        box_xyxy: px of the pool image.
        similarity: cosine under the index's metric, in -1..1.
    """

    query: int
    box_xyxy: Box
    similarity: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pool image that should be labelled, and why.

    Attributes:
        image: its id.
        score: the policy's own unit; comparable within one mode only.
        mode: key of the failure mode it is meant to fix, None if none.
        share: part of the budget it was paid from, "mode", "coverage" or the policy's name.
        cost_boxes: estimated boxes.
        matches: what in it resembles the mode.
        reason: one line for people.
    """

    image: str
    score: float
    mode: str | None
    share: str
    cost_boxes: int
    matches: tuple[Match, ...] = ()
    reason: str = ""


class Need(StrEnum):
    """What a policy reads of a request beyond images, prices and detections.

    What is not declared is neither loaded nor handed over (``plan.decide``).

    Attributes:
        REGIONS: the region index and the failure modes' regions.
        OBJECTS: vectors of what the champion detects; one pass of the encoder over each image.
        VECTORS: whole-image vectors, of the pool and of what is labelled.
        DIFFICULTY: how hard each class is.
        WHOLE_POOL: every pool image, so that the champion must look at each; without it a policy
            is given what the index proposes for the failure modes.
    """

    REGIONS = "regions"
    OBJECTS = "objects"
    VECTORS = "vectors"
    DIFFICULTY = "difficulty"
    WHOLE_POOL = "whole_pool"


class Policy(Protocol):
    """A way to choose. The same request with the same random state gives the same answer."""

    @property
    def needs(self) -> frozenset[Need]:
        """What it reads; see there."""
        ...

    @property
    def name(self) -> str:
        """Its name in the registry."""
        ...

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """Candidates in the order of choice, within the budget.

        Raises:
            BudgetTooSmall: no eligible image fits the budget.
        """
        ...


@dataclass(slots=True, eq=False)
class Ledger:
    """Takes images one at a time and refuses what no policy may select.

    Attributes:
        request: whose budget is spent.
        max_distance: bits by which near-duplicates differ at most; -1 compares nothing.
        taken: candidates so far.
    """

    request: SelectionRequest
    max_distance: int = 4
    taken: list[Candidate] = field(default_factory=list)
    _images: set[str] = field(default_factory=set)
    _barred: set[str] = field(default_factory=set)
    _hashes: list[int] = field(default_factory=list)
    _boxes: int = 0

    def __post_init__(self) -> None:
        names = [image.image for image in self.request.pool]
        if len(set(names)) != len(names):
            raise ValueError("the pool holds an image twice")
        self._barred.update(self.request.excluded)
        hashed = [(i.image, i.phash) for i in self.request.pool if i.phash is not None]
        gone = {phash for image, phash in hashed if image in self.request.excluded}
        gone.update(self.request.excluded_hashes)
        if self.max_distance >= 0 and gone:
            near = near_duplicates_of([own for _, own in hashed], sorted(gone), self.max_distance)
            self._barred.update(image for (image, _), one in zip(hashed, near, strict=True) if one)

    @property
    def barred(self) -> frozenset[str]:
        """Images that may not be taken at all: excluded ones and their near-duplicates."""
        return frozenset(self._barred)

    @property
    def spent(self) -> float:
        """Share of the budget that is spent, in 0..1; of the scarcer of its limits."""
        budget = self.request.budget
        shares = (
            [1.0 if budget.boxes == 0 else self._boxes / budget.boxes]
            if budget.boxes is not None
            else []
        )
        if budget.images is not None:
            shares.append(1.0 if budget.images == 0 else len(self.taken) / budget.images)
        return max(shares)

    def eligible(self) -> list[PoolImage]:
        """Pool images that are neither excluded, nor near-duplicates of such, nor taken; by id."""
        gone = self._barred | self._images
        free = [i for i in self.request.pool if i.image not in gone]
        return sorted(free, key=lambda image: image.image)

    def price(self, image: PoolImage) -> float:
        """Share of the budget that an image costs."""
        budget = self.request.budget
        prices = [image.cost_boxes / max(budget.boxes, 1e-9)] if budget.boxes is not None else []
        if budget.images is not None:
            prices.append(1 / max(budget.images, 1e-9))
        return max(prices)

    def fits(self, image: PoolImage) -> bool:
        """Whether the budget still pays for it."""
        budget = self.request.budget
        boxes_left = budget.boxes is None or self._boxes + image.cost_boxes <= budget.boxes
        return boxes_left and (budget.images is None or len(self.taken) < budget.images)

    def admits(self, image: PoolImage) -> bool:
        """Whether it is allowed, affordable and new: neither taken nor a near-duplicate of such."""
        forbidden = image.image in self._barred or image.image in self._images
        if forbidden or not self.fits(image):
            return False
        if image.phash is None or self.max_distance < 0:
            return True
        return all((image.phash ^ known).bit_count() > self.max_distance for known in self._hashes)

    def take(self, image: PoolImage, candidate: Candidate) -> bool:
        """Take a candidate if its image is admitted; False otherwise."""
        if not self.admits(image):
            return False
        self.taken.append(candidate)
        self._images.add(image.image)
        self._boxes += image.cost_boxes
        if image.phash is not None:
            self._hashes.append(image.phash)
        return True

    def result(self) -> list[Candidate]:
        """What was taken.

        Raises:
            BudgetTooSmall: nothing could be taken.
        """
        if not self.taken:
            cheapest = min((image.cost_boxes for image in self.eligible()), default=None)
            raise BudgetTooSmall(
                f"nothing can be selected for {self.request.budget}: "
                + ("no eligible image" if cheapest is None else f"the cheapest costs {cheapest}")
            )
        return self.taken
