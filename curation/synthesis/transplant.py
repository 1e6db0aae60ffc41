"""What hurt, asked by moving it: which superpixels make known objects fail when put around them.

An explanation says what a superpixel does to the score where it stands. Synthesis asks another
question: what does it do elsewhere? Here the players of a game are the superpixels near an object
that was missed, and the light that falls on it; a coalition is worth what known objects lose of
their score when its pixels are put around them. Anything put around an object costs some score, and
a seam does. So the value is a contrast: what a coalition costs beyond what the same holes cost when
they are filled with another frame. Read :func:`blame`, then :func:`recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from curation import superpixels
from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Detector
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, IntArray
from curation.superpixels import SegmentArray
from curation.synthesis.blend import Blending
from curation.synthesis.composite import BLENDING, Object, Surroundings, placed, put
from curation.synthesis.geometry import carry, carry_labels

Score: TypeAlias = Callable[[Sequence[ImageArray], Sequence[Box]], FloatArray]
"""Images and the box of the object in each, to its score [N] float32 in 0..1."""
COLOUR = 15.0
"""Distance of Lab colours that counts as much as one side of the object."""
FLOOR = 1e-3
"""Of a score before its log-odds are taken: what is below is lost, however far."""


@dataclass(frozen=True, slots=True)
class GameRules:
    """How the game is played.

    Attributes:
        window: players lie in the box of the object, scaled by this about its centre.
        groups: superpixels that look alike play as one, and so many groups play at most: what
            hurts is a bus or a wall, and few coalitions tell few players apart.
        coalitions: drawn, in pairs of complements.
        ridge: of the regression, in units of the variance of a player's mask.
        light: whether the light on the object is a player.
        batch: images scored at once.
        shares: of the positive mass; the least of them that does what the best does is taken. All
            of it reproduces more than 80 % do (0.58 and 0.46 of known objects, 8 misses).
        slack: how much less of the best's loss the smaller mask may bring, as a share.
    """

    window: float = 2.6
    groups: int = 12
    coalitions: int = 64
    ridge: float = 0.05
    light: bool = True
    batch: int = 16
    shares: tuple[float, ...] = (1.0,)
    slack: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Blame:
    """What each player does to known objects.

    Attributes:
        segments: [H, W] int32 on the frame.
        players: [P] int64, segments that play.
        groups: [P] int64 in 0..G-1, which of them play as one and share their value.
        values: [P] float32, loss of log-odds by putting it there; positive hurts.
        errors: [P] float32, standard errors.
        light: the same of the light on the object; None where it did not play.
        light_error: its standard error.
        alone: [P] float32, values without the contrast; None where there was none to take.
    """

    segments: SegmentArray
    players: IntArray
    groups: IntArray
    values: FloatArray
    errors: FloatArray
    light: float | None = None
    light_error: float | None = None
    alone: FloatArray | None = None

    def mask(self, chosen: BoolArray) -> BoolArray:
        """[H, W] bool of some players [P]."""
        return np.isin(self.segments, self.players[chosen])

    def heaviest(self, share: float) -> BoolArray:
        """[P] bool: the fewest groups of players that hold this share of what hurts."""
        _, first = np.unique(self.groups, return_index=True)
        harm = np.maximum(self.values[first], 0)  # [G]
        order = np.argsort(-harm, kind="stable")
        mass = np.cumsum(harm[order])
        chosen = np.zeros(len(harm), np.bool_)
        if mass[-1] > 0:
            count = int(np.searchsorted(mass, share * mass[-1] - 1e-9)) + 1
            chosen[order[:count]] = True
        taken: BoolArray = (chosen & (harm > 0))[self.groups]
        return taken


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What to put around a known object.

    Attributes:
        mask: [H, W] bool on the frame of the object that was missed.
        light: whether the object takes on the colours of the one that was missed.
        loss: mean loss of score of the known objects that it was tried on, less that by others.
        reproduced: share of them that lost ``LOST`` of their score.
        by_others: the same with the pixels of other frames under the same mask.
    """

    mask: BoolArray
    light: bool
    loss: float
    reproduced: float
    by_others: float = 0.0


LOST = 0.3
"""Loss of score from which a known object counts as failing as the other did."""


def scorer(detector: Detector, label: int, iou: float = 0.5) -> Score:
    """The highest probability of a class among default boxes that overlap the object.

    Args:
        detector: whose failures these are.
        label: the class, in 1..K-1.
        iou: overlap of a regressed box from which it finds the object.
    """

    def score(images: Sequence[ImageArray], boxes: Sequence[Box]) -> FloatArray:
        found = np.zeros(len(images), np.float32)
        for row, (proposals, box) in enumerate(zip(detector.propose(images), boxes, strict=True)):
            near = pairwise_iou(proposals.boxes_xyxy, np.array([box], np.float32))[:, 0] >= iou
            probabilities = proposals.probabilities[near, label]
            found[row] = probabilities.max() if len(probabilities) else 0.0
        return found

    return score


def players_of(segments: SegmentArray, box_xyxy: Box, window: float) -> IntArray:
    """Segments [P] whose centre lies in the scaled box; the nearest, if none does."""
    centres = superpixels.centroids_xy(segments)
    middle = np.array([(box_xyxy[0] + box_xyxy[2]) / 2, (box_xyxy[1] + box_xyxy[3]) / 2])
    half = np.array([box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]]) * window / 2
    away = np.abs(centres - middle) / np.maximum(half, 1e-6)  # [S, 2]
    inside: IntArray = np.flatnonzero((away <= 1).all(axis=1))
    return inside if len(inside) else np.array([int(away.max(axis=1).argmin())], np.int64)


def groups_of(
    segments: SegmentArray, players: IntArray, image: ImageArray, box_xyxy: Box, most: int
) -> IntArray:
    """Which players look alike and stand near one another, [P] int64 in 0..G-1.

    Args:
        segments: [H, W] int32.
        players: [P] of them.
        image: [H, W, 3] uint8.
        box_xyxy: of the object; distances count in its sides.
        most: groups at most.

    Source:
        Ward's linkage of mean Lab colours and places.
    """
    if len(players) <= most:
        return np.arange(len(players))
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    area = np.bincount(segments.ravel()).astype(np.float64)
    means = [np.bincount(segments.ravel(), lab[:, channel]) / area for channel in range(3)]
    colour = np.stack(means, axis=1)[players] / COLOUR
    side = max(1.0, float(np.sqrt((box_xyxy[2] - box_xyxy[0]) * (box_xyxy[3] - box_xyxy[1]))))
    places = superpixels.centroids_xy(segments)[players] / side
    tree = linkage(np.concatenate([colour, places], axis=1), "ward")
    groups: IntArray = fcluster(tree, most, "maxclust").astype(np.int64) - 1
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def log_odds(scores: FloatArray) -> npt.NDArray[np.float64]:
    """[N] float64 of scores in 0..1, cut at ``FLOOR``."""
    cut = np.clip(scores.astype(np.float64), FLOOR, 1 - FLOOR)
    odds: npt.NDArray[np.float64] = np.log(cut / (1 - cut))
    return odds


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """A known object with the other frame moved onto it."""

    known: Object
    above: ImageArray
    labels: SegmentArray
    light: tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """One object that was missed, and known ones to try its surroundings on.

    Attributes:
        around: its frame.
        segments: [H, W] int32 of that frame.
        known: D objects of its class that the detector finds.
        others: D frames that have nothing to do with it, each with a box of the same place and the
            light of a known object; none for a game without contrast.
        score: of an object in a picture.
        rules: see there.
        blending: of all composites.
    """

    around: Surroundings
    segments: SegmentArray
    known: Sequence[Object]
    score: Score
    others: Sequence[Surroundings] = ()
    rules: GameRules = GameRules()
    blending: Blending = BLENDING

    def __post_init__(self) -> None:
        if self.others and len(self.others) != len(self.known):
            raise ValueError(f"{len(self.others)} other frames for {len(self.known)} known objects")

    def stages(self) -> list[_Stage]:
        """[D] with the pixels of the frame, then [D] with those of the others."""
        frames = [self.around] * len(self.known) + list(self.others)
        stages = []
        for known, frame in zip([*self.known] * 2, frames, strict=False):
            placement = placed(known, self.around)
            size_hw = known.alpha.shape[0], known.alpha.shape[1]
            labels = carry_labels(self.segments, placement, size_hw)
            above = carry(frame.pixels, placement, size_hw)
            stages.append(_Stage(known, above, labels, frame.light))
        return stages

    def own_scores(self) -> FloatArray:
        """[D] of the known objects in their own pictures."""
        return self.score([k.pixels for k in self.known], [k.box_xyxy for k in self.known])

    def scores(
        self, masks: BoolArray, light: BoolArray, rows: IntArray, stages: Sequence[_Stage]
    ) -> FloatArray:
        """[N] scores of known objects ``rows`` among segments ``masks`` [N, S], ``light`` [N]."""
        found = []
        for start in range(0, len(rows), self.rules.batch):
            images, boxes = [], []
            for n in range(start, min(len(rows), start + self.rules.batch)):
                stage = stages[rows[n]]
                hole = np.append(masks[n], False)[stage.labels]  # -1: the frame does not reach
                how = stage.light if light[n] else None
                images.append(put(stage.known, stage.above, hole, how, self.blending).image)
                boxes.append(stage.known.box_xyxy)
            found.append(self.score(images, boxes))
        return np.concatenate(found)


def blame(game: Game, rng: np.random.Generator) -> Blame:
    """Values of the players, from scores of random half coalitions.

    Args:
        game: with one known object at least.
        rng: of the coalitions, and which known object each is put around.

    Returns:
        Banzhaf values of the players of the game averaged over the known objects: the regression
        of the loss of log-odds on the masks, with a term for each known object.

    Source:
        Least squares on half coalitions give Banzhaf values: Hammer and Holzman, 1992. That the
        value of a coalition is what it does to *other* objects is ours.
    """
    rules, stages = game.rules, game.stages()
    players = players_of(game.segments, game.around.box_xyxy, rules.window)
    groups = groups_of(
        game.segments, players, game.around.pixels, game.around.box_xyxy, rules.groups
    )
    count = int(groups.max()) + 1
    total = count + rules.light
    masks = half_coalitions(total, rules.coalitions, rng)  # [N, P']
    rows = np.resize(rng.permutation(len(game.known)), len(masks) // 2).repeat(2)
    chosen = np.zeros((len(masks), int(game.segments.max()) + 1), np.bool_)
    chosen[:, players] = masks[:, groups]
    light = masks[:, -1] if rules.light else np.zeros(len(masks), np.bool_)
    own = log_odds(game.own_scores())[rows] - log_odds(game.scores(chosen, light, rows, stages))
    values, errors = regress(masks, own, rows, rules.ridge)
    alone = None
    if game.others:
        alone = values[groups]
        shifted = rows + len(game.known)
        other = log_odds(game.scores(chosen, light, shifted, stages))
        base = log_odds(game.own_scores())[rows]
        values, errors = regress(masks, own - (base - other), rows, rules.ridge)
    return Blame(
        game.segments,
        players,
        groups,
        values[groups],
        errors[groups],
        float(values[-1]) if rules.light else None,
        float(errors[-1]) if rules.light else None,
        alone,
    )


def half_coalitions(players: int, number: int, rng: np.random.Generator) -> BoolArray:
    """[N, P] bool in pairs of complements, each player in with probability one half."""
    half = rng.random((max(1, number // 2), players)) < 0.5
    return np.stack([half, ~half], axis=1).reshape(-1, players)


def regress(
    masks: BoolArray, lost: npt.NDArray[np.float64], rows: IntArray, ridge: float
) -> tuple[FloatArray, FloatArray]:
    """Least squares of losses [N] on masks [N, P], with a mean for each known object.

    Args:
        masks: coalitions.
        lost: what each cost.
        rows: [N] which known object it was put around.
        ridge: penalty on the values, times N and a quarter, the variance of a fair mask.

    Returns:
        Values [P] and standard errors [P], float32.
    """
    x, y = masks.astype(np.float64), lost.astype(np.float64).copy()
    for row in np.unique(rows):
        own = rows == row
        x[own] -= x[own].mean(axis=0)
        y[own] -= y[own].mean()
    count, width = x.shape
    inverse = np.linalg.inv(x.T @ x + ridge * count / 4 * np.eye(width))
    slopes = inverse @ (x.T @ y)
    left = y - x @ slopes
    taken = np.trace(inverse @ (x.T @ x)) + len(np.unique(rows))
    noise = float(left @ left) / max(1.0, count - taken)
    spread = np.sqrt(noise * np.einsum("ij,jk,ik->i", inverse, x.T @ x, inverse))
    return slopes.astype(np.float32), spread.astype(np.float32)


def recipe(game: Game, found: Blame) -> Recipe:
    """The smallest of the blamed masks that makes known objects fail as the best does.

    Args:
        game: its known objects try the masks; judge the recipe on others.
        found: of the same game.
    """
    rules, stages = game.rules, game.stages()
    own = game.own_scores()
    lights = (False, True) if found.light is not None and found.light > 0 else (False,)
    tried = [
        attempt(game, stages, own, found.mask(found.heaviest(share)), light)
        for share in rules.shares
        for light in lights
    ]
    best = max(one.loss for one in tried)
    return next(one for one in tried if one.loss >= best - rules.slack * abs(best))


def attempt(
    game: Game, stages: Sequence[_Stage], own: FloatArray, mask: BoolArray, light: bool
) -> Recipe:
    """What one mask [H, W] does to the known objects of a game, whose own scores are [D]."""
    count = len(game.known)
    segments = np.zeros(int(game.segments.max()) + 1, np.bool_)
    segments[np.unique(game.segments[mask])] = True
    masks = np.broadcast_to(segments, (len(stages), len(segments)))
    after = game.scores(masks, np.full(len(stages), light), np.arange(len(stages)), stages)
    lost = np.tile(own, len(stages) // count) - after
    mine, theirs = lost[:count], lost[count:]
    return Recipe(
        mask,
        light,
        float(mine.mean() - (theirs.mean() if len(theirs) else 0)),
        float((mine >= LOST).mean()),
        float((theirs >= LOST).mean()) if len(theirs) else 0.0,
    )
