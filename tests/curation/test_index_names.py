"""Which entry is which image: as a dictionary says it, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.index import RegionIndex
from curation.index import names as names_module
from curation.index.names import NameTable
from curation.index.records import ENTRY

NAME = st.text(st.characters(blacklist_characters="\0", codec="utf-8"), min_size=1).filter(
    lambda name: len(name.encode()) <= 64
)
BATCHES = st.lists(st.lists(NAME, unique=True, max_size=6), max_size=6)
IMAGES = 20_000


def table_of(batches: list[list[str]]) -> tuple[NameTable, np.ndarray, dict[str, int]]:
    """Names added in batches, a repeated one in the place of the older; and a dictionary of it."""
    table, known = NameTable.empty(), dict[str, int]()
    stored = np.zeros(0, ENTRY["image"])
    for batch in batches:
        alive = np.ones(len(stored) + len(batch), np.bool_)
        alive[[known[name] for name in batch if name in known]] = False
        new = np.array([name.encode() for name in batch], ENTRY["image"])
        table = table.with_names(new, len(stored)).alive(alive)
        known |= {name: len(stored) + row for row, name in enumerate(batch)}
        stored = np.concatenate([stored, new])
    return table, stored, known


@settings(max_examples=150)
@given(BATCHES, st.lists(st.text()))
def test_names_are_found_as_a_dictionary_finds_them(
    batches: list[list[str]], others: list[str]
) -> None:
    table, stored, known = table_of(batches)
    wanted = [name for batch in batches for name in batch] + others
    assert table.find(wanted, stored).tolist() == [known.get(name, -1) for name in wanted]
    assert len(table) == len(known)


def test_names_whose_hashes_are_equal_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def equal(names: np.ndarray) -> np.ndarray:
        return np.full(len(names), 7, np.uint64)

    monkeypatch.setattr(names_module, "hashed", equal)
    table, stored, _ = table_of([["a", "b"], ["c", "a"]])
    assert table.find(["c", "a", "b", "d"], stored).tolist() == [2, 3, 1, -1]


@pytest.mark.parametrize("name", ["", "a\0", "\ud800", "x" * 65])
def test_what_cannot_be_in_is_not_found(tmp_path: Path, name: str) -> None:
    index = RegionIndex(tmp_path, "encoder-a", 4)
    index.add(["a", "x" * 64], [np.eye(1, 4, dtype=np.float32)] * 2, [np.ones((1, 4))] * 2)
    assert name not in index
    assert not index.delete(name)
    with pytest.raises(KeyError):
        index.regions_of(name)
    assert index.images() == ("a", "x" * 64)


def test_an_open_index_holds_no_object_an_image(tmp_path: Path) -> None:
    """The name alone is a string of more than a hundred bytes."""
    index = RegionIndex(tmp_path, "encoder-a", 4)
    vectors = np.random.default_rng(0).normal(size=(IMAGES, 1, 4)).astype(np.float32)
    index.add(
        [f"{number:064d}" for number in range(IMAGES)],
        list(vectors),
        [np.ones((1, 4), np.float32)] * IMAGES,
    )
    tracemalloc.start()
    try:
        opened = RegionIndex(tmp_path, "encoder-a", 4)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 40 * IMAGES
    assert f"{IMAGES - 1:064d}" in opened
