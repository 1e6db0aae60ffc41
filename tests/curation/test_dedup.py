"""Near-duplicates by banded hashes agree with comparing all pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curation.dedup import near_duplicate_groups, near_duplicates_of


def flip(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


hash_lists = st.lists(
    st.builds(
        flip,
        st.sampled_from([0, 2**64 - 1, 0x0123456789ABCDEF]),
        st.lists(st.integers(0, 63), max_size=7, unique=True),
    ),
    max_size=25,
)


@given(hash_lists, st.integers(0, 8))
def test_groups_are_the_components_of_the_pair_graph(hashes: list[int], distance: int) -> None:
    groups = near_duplicate_groups(hashes, distance)
    expected = list(range(len(hashes)))
    for _ in hashes:  # slow twin: spread the smallest label until nothing changes
        for a, first in enumerate(hashes):
            for b, second in enumerate(hashes):
                if (first ^ second).bit_count() <= distance:
                    expected[a] = expected[b] = min(expected[a], expected[b])
    for a in range(len(hashes)):
        for b in range(len(hashes)):
            assert (groups[a] == groups[b]) == (expected[a] == expected[b])
    assert list(dict.fromkeys(groups.tolist())) == list(range(len(set(groups.tolist()))))


@given(hash_lists, hash_lists, st.integers(0, 8))
def test_across_sets_as_by_all_pairs(mine: list[int], theirs: list[int], distance: int) -> None:
    found = near_duplicates_of(mine, theirs, distance)
    assert found.tolist() == [any((a ^ b).bit_count() <= distance for b in theirs) for a in mine]


def test_many_hashes_are_grouped_without_all_pairs() -> None:
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 2**63, 20_000, dtype=np.uint64)]
    groups = near_duplicate_groups([*hashes, hashes[5] ^ 0b101, *([hashes[9]] * 5000)])
    assert groups[20_000] == groups[5]
    assert (groups[20_001:] == groups[9]).all()
    assert groups.max() == 19_999
