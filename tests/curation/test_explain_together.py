"""What superpixels do together: known answers, where every mask is known, and agreement."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import shapiq

from curation.explain import coalition_gp
from curation.explain.coalition_fit import Layout, fit
from curation.explain.gp_shap import sample_masks
from curation.explain.together import Coalitions

Array = npt.NDArray[np.float64]


def every_mask(count: int) -> Array:
    return np.array(list(itertools.product([0.0, 1.0], repeat=count)))


def game(count: int, seed: int) -> Array:
    """Values [2^S] of a game with interactions of every order."""
    return np.random.default_rng(seed).normal(size=2**count)


def linear(rng: np.random.Generator, count: int) -> Array:
    """A covariance [S, S] of what superpixels do whatever else is shown."""
    root = rng.normal(size=(count, count)) / count
    return root @ root.T


def exact(masks: Array, values: Array, is_linear: bool = False) -> Coalitions:
    rng = np.random.default_rng(1)
    count = masks.shape[1]
    rates = rng.uniform(0.2, 2.0, count)
    more = linear(rng, count) if is_linear else None
    return Coalitions(masks, values, coalition_gp.Kernel(rates, coalition_gp.END_NOISE, more))


def averaged(masks: Array, values: Array, states: dict[int, float], shown: float) -> float:
    """The mean value while some superpixels are set and every other is shown at random."""
    weights = np.ones(len(masks))
    for segment in range(masks.shape[1]):
        if segment in states:
            weights = weights * (masks[:, segment] == states[segment])
        else:
            weights = weights * np.where(masks[:, segment] == 1, shown, 1 - shown)
    return float(weights @ values)


@pytest.mark.parametrize("is_linear", [False, True])
@pytest.mark.parametrize("shown", [0.25, 0.5, 0.75, 1.0])
def test_of_all_masks_pairs_of_groups_are_exact(shown: float, is_linear: bool) -> None:
    masks, values = every_mask(6), game(6, 2)
    groups = [np.array([0, 3]), np.array([1]), np.array([4, 5])]
    table = exact(masks, values, is_linear).pairs(groups, shown)
    for one, other in itertools.permutations(range(3), 2):
        pair = table[one][other]
        assert pair is not None

        def at(first: float, second: float, one: int = one, other: int = other) -> float:
            states = dict.fromkeys(groups[one].tolist(), first)
            states |= dict.fromkeys(groups[other].tolist(), second)
            return averaged(masks, values, states, shown)

        assert pair.beside.value == pytest.approx(at(1, 1) - at(0, 1), abs=1e-5)
        assert pair.alone.value == pytest.approx(at(1, 0) - at(0, 0), abs=1e-5)
        assert pair.interaction.value == pytest.approx(
            at(1, 1) - at(0, 1) - at(1, 0) + at(0, 0), abs=1e-5
        )
        assert max(pair.beside.error, pair.alone.error, pair.interaction.error) < 1e-3
    assert [table[place][place] for place in range(3)] == [None] * 3


def test_of_all_masks_every_two_agree_with_the_reference_package() -> None:
    masks, values = every_mask(7), game(7, 3)
    found = exact(masks, values).interactions(0.5)
    by_mask = {tuple(mask): value for mask, value in zip(masks.tolist(), values, strict=True)}
    computer = shapiq.ExactComputer(
        game=lambda coalitions: np.array([by_mask[tuple(row)] for row in coalitions * 1.0]),
        n_players=7,
    )
    reference = computer("BII", order=2)
    for pair in itertools.combinations(range(7), 2):
        assert found[pair] == pytest.approx(reference[pair], abs=1e-5)
        assert found[pair[::-1]] == found[pair]
    assert not np.diag(found).any()


def test_interactions_and_pairs_of_single_superpixels_are_the_same_numbers() -> None:
    rng = np.random.default_rng(4)
    masks = sample_masks(12, 60, rng).astype(np.float64)
    values = masks @ rng.normal(size=12) - 2 * masks[:, 3] * masks[:, 8]
    layout = Layout.of(np.ones(12), rng.uniform(0, 4, (12, 2)), np.ones((12, 3)), 16.0)
    belief = Coalitions(masks, values, fit(masks, values, layout))
    table = belief.pairs([np.array([place]) for place in range(12)], 0.75)
    matrix = belief.interactions(0.75)
    for one, other in itertools.permutations(range(12), 2):
        pair = table[one][other]
        assert pair is not None
        assert pair.interaction.value == pytest.approx(matrix[one, other], abs=1e-8)
        assert pair.interaction.value == pytest.approx(pair.beside.value - pair.alone.value)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_pair_stands_out_of_sixty_superpixels(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    masks = sample_masks(60, 128, rng).astype(np.float64)
    planted = sorted(rng.choice(60, 2, replace=False).tolist())
    weights = rng.normal(size=60) * rng.random(60) ** 4  # few matter
    values = masks @ weights - 3 * masks[:, planted].prod(axis=1) + rng.normal(size=128) * 0.05
    belief = Coalitions(masks, values, fit(masks, values, Layout(np.ones(60))))
    found = belief.interactions(0.75)
    assert sorted(np.unravel_index(np.abs(found).argmax(), found.shape)) == planted
    pair = belief.pairs([np.array(planted[:1]), np.array(planted[1:])], 0.75)[0][1]
    assert pair is not None
    assert pair.interaction.value < -4 * pair.interaction.error
    assert pair.beside.value < -1.5


@pytest.mark.parametrize("is_linear", [False, True])
def test_errors_are_as_large_as_the_misses(is_linear: bool) -> None:
    # of scores that are drawn from the process itself
    rng = np.random.default_rng(5)
    every = every_mask(8)
    rates = rng.uniform(0.1, 1.0, 8)
    kernel = coalition_gp.Kernel(rates, 1e-6, linear(rng, 8) if is_linear else None)
    covariance = kernel.covariance(every)
    groups = [np.array([0, 1]), np.array([2]), np.array([5, 6])]
    off = []
    for _ in range(40):
        values = rng.multivariate_normal(np.zeros(256), covariance, method="cholesky")
        some = np.r_[0, 255, 1 + rng.permutation(254)[:60]]
        seen = Coalitions(every[some], values[some], kernel).pairs(groups, 0.75)
        whole = Coalitions(every, values, kernel).pairs(groups, 0.75)
        for one, other in itertools.permutations(range(3), 2):
            guess, truth = seen[one][other], whole[one][other]
            assert guess is not None
            assert truth is not None
            off.append(
                (guess.interaction.value - truth.interaction.value) / guess.interaction.error
            )
    assert 0.8 < float(np.std(off)) < 1.25


@pytest.mark.parametrize("groups", [[[0, 1], [1, 2]], [[0], []], [[0], [9]], [[-1], [2]]], ids=str)
def test_groups_that_make_no_sense_are_refused(groups: list[list[int]]) -> None:
    belief = exact(every_mask(4), game(4, 6))
    with pytest.raises(ValueError, match="group"):
        belief.pairs([np.array(group, np.int64) for group in groups], 0.5)
