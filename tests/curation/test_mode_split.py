"""Failures are divided by what hurt them where it differs, and not where it is only noisy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from curation.kernel.types import FloatArray
from curation.modes.split import MIN_HALF, by_harm, likeness

WIDTH = 96
MAX_LIKENESS = 0.4


def unit(vectors: npt.NDArray[np.floating]) -> FloatArray:
    found: FloatArray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return found


def sample(cause: FloatArray, count: int, noise: float, rng: np.random.Generator) -> FloatArray:
    """[count, W] of failures of one cause; the noise is as long as the cause times ``noise``."""
    return unit(cause + noise * rng.normal(size=(count, WIDTH)) / np.sqrt(WIDTH))


def causes(cosine: float, rng: np.random.Generator) -> FloatArray:
    """[2, W] of unit length with this cosine, in no special direction."""
    basis = np.linalg.qr(rng.normal(size=(WIDTH, 2)))[0].T
    second = cosine * basis[0] + np.sqrt(1 - cosine**2) * basis[1]
    return np.stack([basis[0], second]).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.9])
def test_likeness_is_the_cosine_of_the_causes_whatever_the_noise(
    cosine: float, noise: float
) -> None:
    rng = np.random.default_rng(3)
    one, other = causes(cosine, rng)
    vectors = np.concatenate([sample(one, 300, noise, rng), sample(other, 200, noise, rng)])
    second = np.arange(500) >= 300
    assert likeness(vectors, second) == pytest.approx(cosine, abs=0.06)
    assert likeness(vectors, ~second) == pytest.approx(likeness(vectors, second), abs=1e-6)


def test_likeness_by_hand() -> None:
    eye = np.eye(4, dtype=np.float32)
    vectors = unit(np.stack([eye[0], eye[0] + eye[1], eye[2], eye[2] + eye[1]]))
    # Within 1/sqrt(2) twice; across 0, 0, 0 and 1/2.
    expected = (0.5 / 4) / np.sqrt(0.5)
    assert likeness(vectors, np.array([False, False, True, True])) == pytest.approx(expected)
    apart = eye[[0, 1, 2, 3]]
    assert likeness(apart, np.array([False, False, True, True])) == 1.0  # nothing to tell apart


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(MIN_HALF, 30), st.integers(MIN_HALF, 30))
def test_two_causes_are_told_apart(seed: int, first: int, second: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = causes(0.0, rng)
    harm = np.concatenate([sample(one, first, 0.7, rng), sample(other, second, 0.7, rng)])
    labels = by_harm(harm, MAX_LIKENESS)
    assert adjusted_rand_score([0] * first + [1] * second, labels) == 1
    assert (np.diff(np.bincount(labels)) <= 0).all()  # the largest first


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.3, 1.0, 2.0]))
def test_one_cause_stays_whole(seed: int, count: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    harm = sample(causes(0.0, rng)[0], count, noise, rng)
    assert not by_harm(harm, MAX_LIKENESS).any()


def test_explanations_that_say_nothing_rarely_divide() -> None:
    """What is only noise has no halves but by lot: two tests of 5 % each let few through."""
    divided = 0
    for seed in range(60):
        harm = unit(np.random.default_rng(seed).normal(size=(30, WIDTH)))
        divided += bool(by_harm(harm, MAX_LIKENESS).any())
    assert divided <= 3


def test_three_causes_become_three_groups_on_any_axes() -> None:
    rng = np.random.default_rng(1)
    for basis in (np.eye(WIDTH)[:3], np.linalg.qr(rng.normal(size=(WIDTH, 3)))[0].T):
        harm = np.concatenate([sample(cause, 9, 0.5, rng) for cause in basis])
        labels = by_harm(harm, MAX_LIKENESS)
        assert adjusted_rand_score(np.repeat(range(3), 9), labels) == 1


def test_few_and_bare_failures_are_not_divided() -> None:
    rng = np.random.default_rng(0)
    one, other = causes(0.0, rng)
    few = MIN_HALF - 1
    harm = np.concatenate([sample(one, 20, 0.3, rng), sample(other, few, 0.3, rng)])
    assert not by_harm(harm, MAX_LIKENESS).any()  # too few to be a group of their own
    assert by_harm(np.zeros((0, WIDTH), np.float32), MAX_LIKENESS).shape == (0,)
    bare = np.zeros((5, WIDTH), np.float32)
    assert not by_harm(bare, MAX_LIKENESS).any()
    same = np.repeat(one[None], 12, axis=0)
    assert not by_harm(same, MAX_LIKENESS).any()
    two = np.concatenate([sample(one, 12, 0.3, rng), sample(other, 8, 0.3, rng), bare])
    labels = by_harm(two, MAX_LIKENESS)
    assert (labels == np.repeat([0, 1, 0], [12, 8, 5])).all()  # what has no reason goes with most
