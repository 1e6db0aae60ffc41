"""A mode that a person has divided: known failures stay where they were put, new ones follow."""

from __future__ import annotations

import numpy as np

from curation.kernel.types import FailureKind, FloatArray
from curation.modes import FailureEvidence
from curation.modes.clustering import cluster, mode_of, signature
from curation.modes.dividing import divide
from curation.modes.split import unit

WIDTH = 16


def evidence(name: str, cause: int, seed: int) -> FailureEvidence:
    """A failure whose harm and object are near those of a cause."""
    rng = np.random.default_rng(seed)
    harm, found = np.eye(WIDTH, dtype=np.float32)[[cause, cause + 8]]
    noise = rng.normal(0, 0.1, (2, WIDTH)).astype(np.float32)
    return FailureEvidence(
        failure=name,
        kind=FailureKind.FALSE_NEGATIVE,
        label=1,
        vectors=(harm + noise[0])[None],
        weights=np.ones(1, np.float32),
        object_vector=found + noise[1],
        whole=np.zeros(4, np.float32),
        frame=name,
    )


def names(parts: list[list[FailureEvidence]]) -> list[list[str]]:
    return [[one.failure for one in part] for part in parts]


def test_new_failures_go_where_those_that_are_alike_were_put() -> None:
    old = [evidence("a", 0, 1), evidence("b", 1, 2), evidence("c", 1, 3)]
    new = [evidence("d", 1, 4), evidence("e", 0, 5)]
    assert names(divide(old + new, [{"a"}, {"b", "c"}], unit)) == [["a", "e"], ["b", "c", "d"]]


def test_what_a_person_put_somewhere_stays_there_however_it_looks() -> None:
    strange = evidence("s", 0, 6)
    parts = [{"a"}, {"b", "s"}]
    assert names(divide([evidence("a", 0, 1), evidence("b", 1, 2), strange], parts, unit)) == [
        ["a"],
        ["b", "s"],
    ]


def test_with_all_known_ones_gone_it_goes_by_what_the_parts_were_like() -> None:
    before: list[FloatArray | None] = [signature(evidence("x", n, 9 + n), unit) for n in (0, 1)]
    new = [evidence("d", 1, 4), evidence("e", 0, 5)]
    assert names(divide(new, [set(), set()], unit, before)) == [["e"], ["d"]]
    assert names(divide(new, [set(), set()], unit)) == [["d", "e"], []]


def test_given_failures_make_the_mode_that_clustering_makes_of_them() -> None:
    alike = [evidence(name, 0, seed) for seed, name in enumerate("abcd")]
    (found,) = cluster(alike)
    made = mode_of(alike[::-1])
    assert (made.key, made.members, made.exemplars) == (found.key, found.members, found.exemplars)
    np.testing.assert_allclose(made.vectors, found.vectors, atol=1e-6)
