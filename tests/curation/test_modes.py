"""Failures with one cause become one mode, whatever the order and the noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curation.kernel.types import FailureKind, FloatArray
from curation.modes import FailureEvidence, ModeRules, cluster
from curation.select import KnownObjects

WIDTH = 24


def unit(vector: FloatArray) -> FloatArray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def failures(
    causes: int = 3, each: int = 8, noise: float = 0.1, label: int = 1
) -> list[FailureEvidence]:
    rng = np.random.default_rng(5)
    centres = np.eye(WIDTH)[:causes]
    found = []
    for number in range(causes * each):
        centre = centres[number % causes]
        harm = unit(centre + noise * rng.normal(size=WIDTH))
        accident = unit(rng.normal(size=WIDTH))  # what a noisy explanation points at besides
        found.append(
            FailureEvidence(
                failure=f"f{number:02d}",
                kind=FailureKind.FALSE_NEGATIVE if number % 4 else FailureKind.WRONG_CLASS,
                label=label,
                vectors=np.stack([harm, accident]),
                weights=np.array([0.8, 0.2], np.float32),
                object_vector=unit(np.eye(WIDTH)[-1] + noise * rng.normal(size=WIDTH)),
                whole=unit(rng.normal(size=WIDTH)),
            )
        )
    return found


def test_planted_causes_are_found() -> None:
    modes = cluster(failures(), rules=ModeRules(max_distance=0.3))
    assert sorted(mode.members for mode in modes) == [
        tuple(f"f{n:02d}" for n in range(cause, 24, 3)) for cause in range(3)
    ]
    for mode in modes:
        cause = int(mode.members[0][1:]) % 3
        assert mode.weight == 8
        assert mode.vectors[0] @ np.eye(WIDTH)[cause] > 0.95  # the accidents are pooled away
        assert mode.weights.sum() == pytest.approx(1)
        assert mode.weights[0] > 0.7
        assert mode.kind is FailureKind.FALSE_NEGATIVE
        assert set(mode.exemplars) <= set(mode.members)
        assert mode.whole.shape == (8, WIDTH)


def test_unlike_objects_are_modes_of_their_own_whatever_hurt_them() -> None:
    same = failures(1, 12)
    turned = [
        replace(item, object_vector=np.roll(item.object_vector, 3 * (row % 2)))
        for row, item in enumerate(same)
    ]
    assert len(cluster(same)) == 1
    halves = sorted(mode.members for mode in cluster(turned))
    assert halves == [tuple(f"f{n:02d}" for n in range(half, 12, 2)) for half in (0, 1)]


def _scattered(alike: float, size: int, seed: int) -> FloatArray:
    """Unit vectors [size, 4096] whose mean cosine is about ``alike``."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(size, 4096)) / 64
    common = np.eye(4096)[0] * np.sqrt(alike / (1 - alike))
    return np.stack([unit(common + row) for row in noise])


def test_a_mode_is_as_wide_as_its_class() -> None:
    """Red cells fill the index, so that two of them are hardly alike; still they are one thing."""
    cells = _scattered(0.12, 24, seed=0)
    found = [
        replace(item, object_vector=vector, vectors=item.vectors[:0], weights=item.weights[:0])
        for item, vector in zip(failures(1, 24), cells, strict=True)
    ]
    known = KnownObjects(_scattered(0.07, 60, seed=1), np.ones(60, np.int64))
    usual = known.alike(lambda vectors: vectors)
    assert usual[1] == pytest.approx(0.07, abs=0.02)
    assert len(cluster(found)) > 8  # as if every cell failed in its own way
    assert [mode.weight for mode in cluster(found, usual=usual)] == [24]
    assert len(cluster(found, usual={2: 0.07})) > 8  # of another class


def test_where_a_class_is_alike_its_modes_stay_apart() -> None:
    rng = np.random.default_rng(3)
    centres = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    common, causes = centres[0], centres[1:3]
    found = [
        replace(item, object_vector=unit(0.4 * common + causes[row % 2]))  # 0.14 alike
        for row, item in enumerate(failures(1, 12))
    ]
    for usual in ({}, {1: 0.2}, {1: 0.9}):
        halves = sorted(mode.members for mode in cluster(found, usual=usual))
        assert halves == [tuple(f"f{n:02d}" for n in range(half, 12, 2)) for half in (0, 1)]


def test_noise_that_every_explanation_has_divides_no_mode() -> None:
    (mode,) = cluster(failures(1, 20, noise=0.3), rules=ModeRules(max_distance=1))
    assert mode.weight == 20
    assert mode.vectors[0] @ np.eye(WIDTH)[0] > 0.8  # one alone: 0.56


def test_the_order_of_failures_does_not_matter() -> None:
    given = failures(noise=0.5)
    shuffled = [given[row] for row in np.random.default_rng(1).permutation(len(given))]
    first, second = cluster(given), cluster(shuffled)
    assert [mode.key for mode in first] == [mode.key for mode in second]
    for one, other in zip(first, second, strict=True):
        assert (one.vectors == other.vectors).all()


def test_exemplars_are_of_different_frames_and_drives_while_there_are_some() -> None:
    given = failures(1, 12, noise=0.3)
    (plain,) = cluster(given)
    crowded = {*plain.exemplars, plain.members[0]}  # the most typical share one frame
    placed = [
        replace(one, frame="crowded" if one.failure in crowded else f"frame {one.failure}")
        for one in given
    ]
    (mode,) = cluster(placed)
    assert mode.exemplars[0] == plain.exemplars[0]
    assert len(mode.exemplars) == len(plain.exemplars) == 4
    assert sum(name in crowded for name in mode.exemplars) == 1
    assert mode.exemplars == cluster(placed[::-1])[0].exemplars
    drives = [replace(one, group=f"drive {int(one.failure[1:]) % 4}") for one in given]
    (mode,) = cluster(drives)
    assert len({int(name[1:]) % 4 for name in mode.exemplars}) == 4
    (mode,) = cluster([replace(one, frame="only", group="only") for one in given])
    assert mode.exemplars == plain.exemplars


def test_classes_and_families_are_never_mixed() -> None:
    missed = failures(1, 4, label=1) + failures(1, 4, label=2)[:0]
    other = [
        FailureEvidence(
            f"g{n}", FailureKind.FALSE_POSITIVE, 1, f.vectors, f.weights, f.object_vector, f.whole
        )
        for n, f in enumerate(missed)
    ]
    modes = cluster(missed + other, rules=ModeRules(max_distance=1.9))
    assert {mode.family for mode in modes} == {"missed", "false"}
    assert len(modes) == 2


def test_few_and_bare_failures_are_modes_too() -> None:
    assert cluster([]) == []
    bare = failures(1, 1)[0]
    bare = FailureEvidence(
        "lone", bare.kind, 1, bare.vectors[:0], bare.weights[:0], bare.object_vector, bare.whole
    )
    (mode,) = cluster([bare])
    assert mode.members == ("lone",)
    assert mode.vectors.shape == (0, WIDTH)
    assert np.linalg.norm(mode.object_vector) == pytest.approx(1, abs=1e-5)


def test_queries_are_few_and_heaviest_first() -> None:
    (mode,) = cluster(
        failures(1, 30, noise=2.0), rules=ModeRules(max_distance=1.9, max_queries=3, min_share=0)
    )
    assert len(mode.vectors) <= 3
    assert (np.diff(mode.weights) <= 0).all()
