"""Coded segments of the region index: a quarter of the space, the same answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.index.coded import KEPT, Segment, write_segment
from curation.index.shards import ShardRules
from curation.index.version import FORMAT, VERSION_FILE
from curation.kernel.errors import ShardCorrupt
from curation.kernel.types import FloatArray
from tests.curation.test_index import WIDTH, clustered, fill, opened

CODING = ShardRules(min_regions=10_000, max_bytes=16, code_rows=100)
NAMES = [f"i{n:03d}" for n in range(200)]
WIDE = 864


def like_regions(count: int, seed: int) -> FloatArray:
    """Vectors whose variance falls off as that of real ones does; halves of equal length."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, WIDE // 2 + 1) ** -0.7
    halves = rng.normal(size=(count, 2, WIDE // 2)) * spread + rng.normal(size=WIDE // 2) * 0.5
    halves /= np.linalg.norm(halves, axis=2, keepdims=True) * np.sqrt(2)
    return halves.reshape(count, WIDE).astype(np.float32)


def test_a_segment_takes_a_quarter_and_keeps_who_is_near(tmp_path: Path) -> None:
    vectors = like_regions(3000, 0)
    ref = write_segment(tmp_path / "one.seg", 0, vectors)
    size = (tmp_path / "one.seg").stat().st_size
    basis = 2 * KEPT * (WIDE // 2) * 2
    assert size - basis < 3000 * 1.05 * 2 * KEPT
    assert 2 * KEPT * 4 < 2 * WIDE
    found = Segment(tmp_path, ref, WIDE).decoded(np.arange(3000))
    exact, coded = vectors[:50] @ vectors.T, found[:50] @ found.T
    near = [np.argsort(-one, axis=1)[:, 1:11] for one in (exact, coded)]
    kept = [len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)]
    assert np.mean(kept) > 0.8


def test_an_empty_ring_stays_empty(tmp_path: Path) -> None:
    vectors = clustered(300, 0)
    vectors[7, WIDTH // 2 :] = 0
    ref = write_segment(tmp_path / "one.seg", 0, vectors)
    found = Segment(tmp_path, ref, WIDTH).decoded(np.array([6, 7]))
    assert (found[1, WIDTH // 2 :] == 0).all()
    assert (found[0, WIDTH // 2 :] != 0).any()
    assert np.abs(found - vectors[[6, 7]]).max() < 0.01


def test_what_cannot_be_coded_is_written_all_the_same(tmp_path: Path) -> None:
    """All alike, all zero, one alone, an odd width."""
    for number, vectors in enumerate(
        [
            np.ones((5, 8), np.float32),
            np.zeros((5, 8), np.float32),
            clustered(1, 0),
            clustered(9, 1),
        ]
    ):
        odd = np.ascontiguousarray(vectors[:, :-1])
        for name, rows in ((f"{number}.seg", vectors), (f"{number}-odd.seg", odd)):
            ref = write_segment(tmp_path / name, 0, rows)
            found = Segment(tmp_path, ref, rows.shape[1]).decoded(np.arange(len(rows)))
            assert found == pytest.approx(rows, abs=0.01)


def coded(folder: Path) -> tuple[RegionIndex, dict[str, FloatArray]]:
    index = opened(folder, CODING)
    fill(index, NAMES)
    return index, {name: index.regions_of(name)[0] for name in NAMES}


def test_coding_moves_vectors_and_every_reader_goes_on(tmp_path: Path) -> None:
    index, vectors = coded(tmp_path)
    reader = opened(tmp_path, CODING)
    queries = clustered(5, 3)
    before = reader.search(queries, 5)
    assert index.uncoded() == 1000
    assert index.compress() == 0
    fill(index, ["late"], seed=9)
    assert index.uncoded() == 5
    for seen in (index, reader, opened(tmp_path, CODING)):
        seen.verify()
        assert seen.images() == (*NAMES, "late")
        for name in NAMES[::17]:
            assert seen.regions_of(name)[0] == pytest.approx(vectors[name], abs=0.01)
        found = seen.search(queries, 5)
        same = [set(a) & set(b) for a, b in zip(found.images, before.images, strict=True)]
        assert np.mean([len(names) for names in same]) > 3.5
    assert len(list(tmp_path.glob("*.f16"))) == 1
    assert len(list(tmp_path.glob("coded-*"))) == 1


def test_coding_alone_leaves_what_is_too_little(tmp_path: Path) -> None:
    index, vectors = coded(tmp_path)
    assert index.compress() == 0
    fill(index, ["late"], seed=9)
    late = index.regions_of("late")[0]
    assert index.compress() == 5
    assert np.array_equal(index.regions_of("late")[0], late)
    assert index.regions_of("i003")[0] == pytest.approx(vectors["i003"], abs=0.01)
    assert index.shards() == ()


def test_files_written_anew_are_coded_again(tmp_path: Path) -> None:
    rules = ShardRules(min_regions=50, max_bytes=16, code_rows=100)
    index = opened(tmp_path, rules)
    fill(index, NAMES)
    vectors = {name: index.regions_of(name)[0] for name in NAMES}
    index.seal()
    fill(index, ["late"], seed=9)
    for name in NAMES[::2]:
        index.delete(name)
    index.seal()
    index.verify()
    assert index.num_stored() == 505
    for name in NAMES[1::2]:
        assert index.regions_of(name)[0] == pytest.approx(vectors[name], abs=0.02)
    assert len(list(tmp_path.glob("coded-*"))) == 1


def test_an_index_of_the_first_format_is_read_and_coded_with_the_next_seal(tmp_path: Path) -> None:
    _, vectors = coded(tmp_path)
    file = tmp_path / VERSION_FILE
    described = json.loads(file.read_text())
    assert described.pop("format") == FORMAT
    del described["segments"], described["tail"]
    file.write_text(json.dumps({"format": 1, **described}))
    old = opened(tmp_path, CODING)
    assert all(np.array_equal(old.regions_of(name)[0], vectors[name]) for name in NAMES)
    old.seal()
    assert old.uncoded() == 0
    assert old.regions_of("i003")[0] == pytest.approx(vectors["i003"], abs=0.01)


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    index, _ = coded(tmp_path)
    index.seal()
    (segment,) = tmp_path.glob("coded-*")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1] + bytes([whole[-1] ^ 255]))
    with pytest.raises(ShardCorrupt, match=r"coded-.*differs"):
        opened(tmp_path, CODING).verify()
    segment.write_bytes(whole[:-10])
    with pytest.raises(ShardCorrupt, match=r"coded-.*shorter"):
        opened(tmp_path, CODING).regions_of("i003")
    segment.unlink()
    with pytest.raises(ShardCorrupt, match=r"coded-.*missing"):
        opened(tmp_path, CODING).regions_of("i003")
