"""Synthesis: the transplant game finds what was planted."""

import numpy as np
import pytest

from curation import superpixels
from curation.synthesis.composite import Object, Surroundings
from curation.synthesis.game import Game, GameRules, groups_of, players_of, scorer
from curation.synthesis.transplant import (
    blame,
    half_coalitions,
    log_odds,
    recipe,
    regress,
    tried,
)
from tests.tiny_ssd import tiny_ssd

BOX = (56.0, 40.0, 72.0, 56.0)
SIZE_HW = (96, 128)
GUILTY = (200, 30, 180)


def plain(seed, paint=(230, 220, 40)):
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(110, 5, (*SIZE_HW, 3)), 0, 255).astype(np.uint8)
    image[42:54, 58:70] = paint
    return image


def guilty_frame(where):
    image = plain(9)
    image[where] = GUILTY
    image[42:54, 58:70] = (230, 220, 40)
    return image


def guilt(image, box, reach=20):
    """How much of the surroundings has the colour that hurts."""
    x1, y1, x2, y2 = (int(side) for side in box)
    near = image[max(0, y1 - reach) : y2 + reach, max(0, x1 - reach) : x2 + reach].astype(int)
    return float((np.abs(near - GUILTY).sum(-1) < 60).mean())


def finds_unless_guilty(images, boxes):
    """A detector with a known answer: every bit of the colour costs."""
    lost = [20 * guilt(image, box) for image, box in zip(images, boxes, strict=True)]
    return (1 / (1 + np.exp(np.array(lost) * 2 - 3))).astype(np.float32)


def game(where, rules=GameRules(window=3.0, light=False), score=finds_unless_guilty):
    around = Surroundings.of(guilty_frame(where), BOX)
    known = [Object.cut(plain(seed), BOX) for seed in range(6)]
    return Game(around, superpixels.grid(SIZE_HW, 192), known, score, (), rules, "hard")


LEFT = (slice(36, 60), slice(36, 54))


def test_what_was_planted_is_blamed_and_the_rest_is_not():
    played = game(LEFT)
    found = blame(played, np.random.default_rng(0))
    planted = np.zeros(SIZE_HW, np.bool_)
    planted[LEFT] = True
    share = np.array([planted[found.segments == p].mean() for p in found.players])
    assert found.values[share > 0.9].min() > found.values[share < 0.1].max()
    chosen = recipe(found)
    assert tried(played, chosen).reproduced > 0.9
    reach = np.isin(found.segments, found.players)
    assert (chosen.mask & planted).sum() > 0.9 * (planted & reach).sum()
    assert not chosen.mask[np.isin(found.segments, found.players[found.values < 0])].any()
    assert not chosen.light  # it did not play


def test_the_same_seed_gives_the_same_blame():
    first, second = (blame(game(LEFT), np.random.default_rng(3)).values for _ in range(2))
    assert np.array_equal(first, second)


def test_what_hurts_nobody_reproduces_nothing():
    played = game((slice(0, 0), slice(0, 0)))
    found = blame(played, np.random.default_rng(0))
    assert np.abs(found.values).max() < 0.05
    assert tried(played, recipe(found)).reproduced == 0


def test_the_light_on_the_object_is_blamed_where_it_is_what_hurts():
    def finds_unless_dark(images, boxes):
        means = [image[42:54, 58:70].mean() for image in images]
        return (1 / (1 + np.exp((120 - np.array(means)) / 10))).astype(np.float32)

    dark = plain(9, paint=(40, 30, 60))
    around = Surroundings.of(dark, BOX)
    known = [Object.cut(plain(seed), BOX) for seed in range(6)]
    segments = superpixels.grid(SIZE_HW, 192)
    played = Game(around, segments, known, finds_unless_dark, (), GameRules(window=2.0), "hard")
    found = blame(played, np.random.default_rng(0))
    assert found.light is not None
    assert found.light > 10 * np.abs(found.values).max()
    chosen = recipe(found)
    assert chosen.light
    assert tried(played, chosen).reproduced == 1


def test_regression_recovers_values_beside_the_means_of_objects():
    rng = np.random.default_rng(0)
    masks = half_coalitions(12, 400, rng)
    assert np.array_equal(masks[0], ~masks[1])
    rows = rng.integers(0, 5, len(masks))
    true = rng.normal(size=12)
    lost = masks @ true + 10 * rows + rng.normal(0, 0.1, len(masks))
    values, errors = regress(masks, lost, rows, 0.0)
    assert np.abs(values - true).max() < 5 * errors.max()
    assert errors.max() < 0.02
    shrunk, _ = regress(masks, lost, rows, 1.0)
    assert np.abs(shrunk).sum() < np.abs(values).sum()


def test_players_are_near_the_object_and_there_is_always_one():
    segments = superpixels.grid(SIZE_HW, 192)
    centres = superpixels.centroids_xy(segments)[players_of(segments, BOX, 2.0)]
    assert (np.abs(centres - [64, 48]) <= 16).all()
    assert len(centres) > 4
    assert len(players_of(segments, (1.0, 1.0, 2.0, 2.0), 1.0)) == 1


def test_scores_beyond_the_floor_are_finite():
    assert np.isfinite(log_odds(np.array([0.0, 0.5, 1.0], np.float32))).all()
    assert log_odds(np.array([0.5], np.float32))[0] == pytest.approx(0)


def test_the_scorer_sees_the_class_and_the_place():
    detector = tiny_ssd()
    image = plain(0)
    (proposals,) = detector.propose([image])
    best = int(proposals.probabilities[:, 1].argmax())
    box = tuple(float(side) for side in proposals.boxes_xyxy[best])
    (score,) = scorer(detector, 1)([image], [box])
    assert score == pytest.approx(float(proposals.probabilities[best, 1]), abs=1e-6)
    assert scorer(detector, 1)([image], [(-50.0, -50.0, -40.0, -40.0)])[0] == 0


def test_superpixels_that_look_alike_play_as_one():
    segments = superpixels.grid(SIZE_HW, 192)
    image = plain(0)
    image[LEFT] = GUILTY
    players = players_of(segments, BOX, 3.0)
    groups = groups_of(segments, players, image, BOX, 6)
    assert len(np.unique(groups)) == groups.max() + 1 <= 6
    planted = np.zeros(SIZE_HW, np.bool_)
    planted[LEFT] = True
    share = np.array([planted[segments == player].mean() for player in players])
    inside, outside = set(groups[share > 0.9]), set(groups[share < 0.1])
    assert len(inside) == 1
    assert not inside & outside
    assert np.array_equal(groups_of(segments, players[:3], image, BOX, 6), [0, 1, 2])


def test_other_frames_take_out_what_any_pixels_cost():
    def cost_of_change(images, boxes):
        """Anything put around the object costs, the guilty colour a little more."""
        lost = [
            0.4 * (np.abs(image[:, 60:68].astype(int) - 110) > 25).mean() * 20
            + 8 * guilt(image, box)
            for image, box in zip(images, boxes, strict=True)
        ]
        return (1 / (1 + np.exp(np.array(lost) - 3))).astype(np.float32)

    around = Surroundings.of(guilty_frame(LEFT), BOX)
    known = [Object.cut(plain(seed), BOX) for seed in range(6)]
    others = [Surroundings.of(plain(20 + seed), BOX) for seed in range(6)]
    segments = superpixels.grid(SIZE_HW, 192)
    rules = GameRules(window=3.0, light=False)
    played = Game(around, segments, known, cost_of_change, others, rules, "hard")
    found = blame(played, np.random.default_rng(0))
    planted = np.zeros(SIZE_HW, np.bool_)
    planted[LEFT] = True
    chosen = found.mask(found.heaviest(0.8))
    assert (chosen & planted).sum() > 0.7 * chosen.sum()
    # The recipe goes by what the frame itself costs: as a game without other frames tells it.
    plain_game = Game(around, segments, known, cost_of_change, (), rules, "hard")
    own = recipe(blame(plain_game, np.random.default_rng(0)))
    assert np.array_equal(recipe(found).mask, own.mask)
    with pytest.raises(ValueError, match="other frames"):
        Game(around, segments, known, cost_of_change, others[:2], rules)
