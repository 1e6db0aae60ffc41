"""What hurt, asked by moving it: which superpixels make known objects fail when put around them.

An explanation says what a superpixel does to the score where it stands. Synthesis asks another
question: what does it do elsewhere? Here the players of a game are the superpixels near an object
that was missed, and the light that falls on it; a coalition is worth what known objects lose of
their score when its pixels are put around them. Anything put around an object costs some score, and
a seam does. So a game that is given other frames takes the contrast: what a coalition costs beyond
what the same holes cost when they are filled with another frame. Read :func:`blame`, then
:func:`recipe`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from curation.kernel.types import BoolArray, FloatArray, IntArray
from curation.superpixels import SegmentArray
from curation.synthesis.game import Game, groups_of, players_of

FLOOR = 1e-3
"""Of a score before its log-odds are taken: what is below is lost, however far."""


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
    """

    mask: BoolArray
    light: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """What a recipe does to the known objects of a game.

    Attributes:
        loss: mean loss of their score, less that by other frames where the game has some.
        reproduced: share of them that lost ``LOST`` of their score.
    """

    loss: float
    reproduced: float


LOST = 0.3
"""Loss of score from which a known object counts as failing as the other did."""


def log_odds(scores: FloatArray) -> npt.NDArray[np.float64]:
    """[N] float64 of scores in 0..1, cut at ``FLOOR``."""
    cut = np.clip(scores.astype(np.float64), FLOOR, 1 - FLOOR)
    odds: npt.NDArray[np.float64] = np.log(cut / (1 - cut))
    return odds


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
    before = log_odds(game.own_scores())[rows]
    own = before - log_odds(game.scores(chosen, light, rows, stages))
    values, errors = regress(masks, own, rows, rules.ridge)
    alone = None
    if game.others:
        alone = values[groups]
        shifted = rows + len(game.known)
        other = log_odds(game.scores(chosen, light, shifted, stages))
        values, errors = regress(masks, own - (before - other), rows, rules.ridge)
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


def recipe(found: Blame) -> Recipe:
    """What was blamed, whole: all that hurts where it is moved, with the light where it played.

    By the values without the contrast to other frames, where there was one. Of the recipes that
    were tried it reproduces the failure most often (``docs/results/drawn_samples.md``): the
    contrast is steadier and gives away a sixth of that.
    """
    alone = found if found.alone is None else replace(found, values=found.alone)
    return Recipe(alone.mask(alone.heaviest(1.0)), found.light is not None)


def tried(game: Game, chosen: Recipe) -> Trial:
    """What a recipe does to the known objects of a game; judge it on others."""
    stages, own = game.stages(), game.own_scores()
    count = len(game.known)
    segments = np.zeros(int(game.segments.max()) + 1, np.bool_)
    segments[np.unique(game.segments[chosen.mask])] = True
    masks = np.broadcast_to(segments, (len(stages), len(segments)))
    light = np.full(len(stages), chosen.light)
    after = game.scores(masks, light, np.arange(len(stages)), stages)
    lost = np.tile(own, len(stages) // count) - after
    mine, theirs = lost[:count], lost[count:]
    loss = float(mine.mean() - (theirs.mean() if len(theirs) else 0))
    return Trial(loss, float((mine >= LOST).mean()))
