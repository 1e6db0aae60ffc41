"""Pixels of what hurt from the unlabelled pool: no frame of the field is shown to a training.

What hurt needs no label: where the region index returns its like, a picture of the pool gives the
pixels and the failing frame stays with the judges. ::

    harms_of(misses, …)                 what hurt, in the failing frames
    pool_harms(found, …, index, …)      the same from pool pictures, or one sentence why not

The failing frame asks by the cells of the pool's own grid that its mask covers. A picture that the
index returns is laid under it wherever one of its cells answers one of those, and the place counts
at which all of them agree best: then the street lies left of the object as it lay there. Whether it
hurts is not believed but tried, on known objects. Of the failing frame only the colours of the
object that was missed are taken, where light was blamed: mean and deviation, six numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from curation.embedding.embed import RegionEmbedder
from curation.index.protocol import PoolIndex
from curation.kernel.detector import Detector
from curation.kernel.errors import CurationError
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, IntArray
from curation.synthesis.base import Donor, Harm
from curation.synthesis.composite import Object, Surroundings
from curation.synthesis.game import Game, scorer
from curation.synthesis.geometry import Placement, carry_mask
from curation.synthesis.known import alike
from curation.synthesis.make import Missed
from curation.synthesis.transplant import Recipe, tried

NONE_LIKE_IT = "the pool holds nothing like it that leaves room for an object"
NONE_HURTS = "none of the {count} pool pictures most like it makes known objects fail"


@dataclass(frozen=True, slots=True)
class PoolRules:
    """How the pool is asked.

    Attributes:
        queries: cells of the failing frame that ask, those most covered by what hurt.
        hits: regions that the index proposes for each.
        images: pictures whose arrangement is compared.
        tried: pictures that are opened and put around known objects.
        known: known objects that each is tried on.
        reproduced: share of them that must lose as much as counts as failing.
        kept: pictures of a miss, those that cost known objects most.
        seen: least share of the mask that lies within the pool picture.
    """

    queries: int = 4
    hits: int = 100
    images: int = 12
    tried: int = 5
    known: int = 4
    reproduced: float = 0.5
    kept: int = 2
    seen: float = 0.6

    def __post_init__(self) -> None:
        counts = (self.queries, self.hits, self.images, self.tried, self.known, self.kept)
        if min(counts) < 1:
            raise ValueError("queries, hits, images, tried, known and kept must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A failing frame as the index is asked.

    Attributes:
        vectors: [C, W] float32 of its cells, raw, as those of the pool.
        boxes_xyxy: [C, 4] float32 px of the frame.
        weights: [C] float32, share of what hurt that each covers; they sum to 1.
    """

    vectors: FloatArray
    boxes_xyxy: FloatArray
    weights: FloatArray

    def heaviest(self, count: int) -> IntArray:
        """[C] rows of the cells that cover most."""
        order: IntArray = np.argsort(-self.weights, kind="stable")[:count]
        return order[self.weights[order] > 0]


@dataclass(frozen=True, slots=True)
class Offer:
    """A place in a pool picture.

    Attributes:
        image: its id.
        placement: of pixels of the failing frame in it.
        likeness: mean similarity of what hurt to what lies there, in -1..1.
    """

    image: str
    placement: Placement
    likeness: float


def pool_harms(
    found: Sequence[tuple[Missed, Harm]],
    donors: Sequence[Donor],
    detector: Detector,
    index: PoolIndex,
    embedder: RegionEmbedder,
    opened: Callable[[str], ImageArray],
    seed: int,
    barred: Collection[str] = (),
    rules: PoolRules = PoolRules(),
) -> Iterator[tuple[Missed, tuple[Harm, ...] | str]]:
    """What hurt in each miss, in pixels of the pool; or one sentence why there are none.

    Args:
        found: misses with what hurt there, as ``harms_of`` says; one without a mask has nothing
            to ask by.
        donors: known objects.
        detector: whose failures these are.
        index: regions of the pool.
        embedder: that the index was made with.
        opened: a picture [H, W, 3] uint8 by its id in the index; one for which it raises
            ``CurationError`` or ``OSError`` is passed over.
        seed: of the known objects that pictures are tried on.
        barred: ids that may give no pixels: what is labelled, what judges and its near-duplicates.
        rules: see there.

    Returns:
        For each miss, in their order, harms of role "pool" without a truth, so that what is put
        around an object is ignored in training; the one that costs known objects most first.

    Raises:
        EncoderMismatch: the index holds vectors of another width.
    """
    for number, (missed, harm) in enumerate(found):
        rng = np.random.default_rng([seed, number])
        asked = question(harm, embedder)
        offers = offers_of(asked, harm, index, barred, rules)
        if not offers:
            yield missed, NONE_LIKE_IT
            continue
        players = alike(donors, harm.box_xyxy, harm.label, rules.known, rng)
        known = [Object.cut(one.pixels, one.box_xyxy) for one in players]
        kept, looked_at = _that_hurt(harm, offers, known, detector, opened, rules)
        yield missed, kept or NONE_HURTS.format(count=looked_at)


def question(harm: Harm, embedder: RegionEmbedder) -> Asked:
    """The cells of a failing frame, weighted by what hurt in them."""
    (cells,) = embedder.embed_pool([harm.pixels])
    weights = np.array([_inside(harm.mask, box) for box in cells.boxes_xyxy], np.float32)
    return Asked(cells.vectors, cells.boxes_xyxy, weights / max(1e-12, float(weights.sum())))


def offers_of(
    asked: Asked,
    harm: Harm,
    index: PoolIndex,
    barred: Collection[str] = (),
    rules: PoolRules = PoolRules(),
) -> list[Offer]:
    """Places of the pool that look like what hurt, one of a picture, the most alike first."""
    rows = asked.heaviest(rules.queries)
    if not len(rows) or not len(index):
        return []
    scores = index.score_images(asked.vectors[rows], rules.hits, excluded=barred)
    total = asked.weights[rows] @ scores.similarities  # [I]
    nearest = np.argsort(-total, kind="stable")[: rules.images]
    offers = [_best_place(asked, rows, harm, scores.images[row], index) for row in nearest]
    found = [one for one in offers if one is not None]
    return sorted(found, key=lambda one: (-one.likeness, one.image))


def _best_place(
    asked: Asked, rows: IntArray, harm: Harm, image: str, index: PoolIndex
) -> Offer | None:
    """Where in a picture all of what hurt finds its like, each cell at its place; None: nowhere."""
    vectors, boxes = index.regions_of(image)
    width, height = float(boxes[:, 2].max()), float(boxes[:, 3].max())
    counted = np.flatnonzero(asked.weights > 0)
    alike_ = index.metric.apply(asked.vectors[counted]) @ index.metric.apply(vectors).T  # [C', R]
    own, others = _middles(asked.boxes_xyxy), _middles(boxes)
    side = float(np.median(boxes[:, 2] - boxes[:, 0]))
    best: Offer | None = None
    for row in rows:
        scale = side / max(1e-6, float(asked.boxes_xyxy[row, 2] - asked.boxes_xyxy[row, 0]))
        for middle in others:
            shift = middle - scale * own[row]
            placement = Placement(scale, (float(shift[0]), float(shift[1])))
            (x1, y1, x2, y2) = placement.boxes(np.array([harm.box_xyxy], np.float32))[0]
            if min(x1, y1) < 0 or x2 > width or y2 > height:
                continue  # the object would leave the picture
            away = np.abs(scale * own[counted][:, None] + shift - others).max(axis=2)  # [C', R]
            near = away.argmin(axis=1)
            cells = np.arange(len(counted))
            there = away[cells, near] <= side / 2  # else the picture does not reach
            likeness = float(asked.weights[counted] @ (alike_[cells, near] * there))
            if best is None or likeness > best.likeness:
                best = Offer(image, placement, likeness)
    return best


def _that_hurt(
    harm: Harm,
    offers: Sequence[Offer],
    known: Sequence[Object],
    detector: Detector,
    opened: Callable[[str], ImageArray],
    rules: PoolRules,
) -> tuple[tuple[Harm, ...], int]:
    """Those of the offers that make known objects fail, and how many were looked at."""
    colours = Surroundings.of(harm.pixels, harm.box_xyxy).light if harm.light else None
    score, looked_at = scorer(detector, harm.label), 0
    hurt: list[tuple[float, Harm]] = []
    for offer in offers:
        if looked_at == rules.tried or not known:
            break
        try:
            moved = _moved(harm, offer, opened(offer.image), colours, rules)
        except (CurationError, OSError):  # costs its neighbours nothing: another one is asked
            continue
        if moved is None:
            continue
        looked_at += 1
        around = Surroundings.of(moved.pixels, moved.box_xyxy)
        around = around if colours is None else replace(around, light=colours)
        game = Game(around, moved.mask.astype(np.int32), known, score)
        trial = tried(game, Recipe(moved.mask, moved.light))
        if trial.reproduced >= rules.reproduced:
            hurt.append((trial.loss, moved))
    hurt.sort(key=lambda one: (-one[0], one[1].image))
    return tuple(one for _, one in hurt[: rules.kept]), looked_at


def _moved(
    harm: Harm,
    offer: Offer,
    pixels: ImageArray,
    colours: tuple[FloatArray, FloatArray] | None,
    rules: PoolRules,
) -> Harm | None:
    """What hurt, cut out of a pool picture; None where too little of it lies within."""
    size_hw = pixels.shape[0], pixels.shape[1]
    mask = carry_mask(harm.mask, offer.placement, size_hw)
    if mask.sum() < rules.seen * harm.mask.sum() * offer.placement.scale**2:
        return None
    x1, y1, x2, y2 = (
        float(side) for side in offer.placement.boxes(np.array([harm.box_xyxy], np.float32))[0]
    )
    box = x1, y1, x2, y2
    where = pixels, mask, box
    return Harm(offer.image, "pool", *where, harm.label, None, harm.light, colours=colours)


def _middles(boxes_xyxy: FloatArray) -> FloatArray:
    middles: FloatArray = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) * np.float32(0.5)
    return middles


def _inside(mask: BoolArray, box_xyxy: FloatArray | Box) -> int:
    """Pixels of a mask within a box."""
    x1, y1, x2, y2 = (round(float(side)) for side in box_xyxy)
    return int(mask[max(0, y1) : y2, max(0, x1) : x2].sum())
