"""Seals of the region index: merging, pruning, compaction, tuning, and who may work meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from curation.index import RegionIndex, region_index
from curation.index.seal import Span, plan, seal_spans
from curation.index.shards import OVERSAMPLE, TUNED_K, ShardRules, build
from curation.index.snapshot import Snapshot
from curation.index.vectors import VectorStore
from curation.index.version import ShardRef, Version
from curation.kernel.errors import EncoderMismatch, IndexBusy, ShardCorrupt
from curation.kernel.types import FloatArray
from tests.curation.test_index import WIDTH, clustered, fill, opened

RULES = ShardRules(min_regions=50, max_bytes=16)


def everything(index: RegionIndex) -> set[str]:
    """All images that a search for anything can return."""
    query = clustered(1, 11)
    hits = index.search(query, max(1, index.num_stored()))
    return {name for name in hits.images.ravel() if name} | set(index.score_images(query).images)


def test_any_history_leaves_what_is_alive_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    index, other = opened(tmp_path, RULES), opened(tmp_path, RULES)
    alive: dict[str, int] = {}
    generations = set()
    for step in range(40):
        writer = index if rng.random() < 0.7 else other
        kind = rng.choice(["add", "add", "delete", "delete", "seal"])
        if kind == "add":
            names = [f"i{n}" for n in rng.choice(60, size=12, replace=False)]
            fill(writer, names, seed=step)
            alive |= dict.fromkeys(names, step)
        elif kind == "delete" and alive:
            for name in rng.choice(sorted(alive), size=min(len(alive), 6), replace=False):
                assert writer.delete(str(name))
                alive.pop(str(name))
        else:
            writer.seal()
        for reader in (index, other):
            assert reader.images() == tuple(sorted(alive))
            assert everything(reader) == set(alive)
        generations.add(index._store.version.generation)
    index.verify()
    assert len(generations) > 2  # compactions took place
    assert index.num_stored() < 5 * 12 * 40


def test_shards_merge_so_that_their_number_grows_with_the_logarithm(tmp_path: Path) -> None:
    index = opened(tmp_path, ShardRules(min_regions=50, max_regions=700, max_bytes=16))
    for step in range(16):
        fill(index, [f"{step}-{n}" for n in range(10)], seed=step)
        index.seal()
        counts = [shard.count for shard in index.shards()]
        assert sum(counts) == 50 * (step + 1)
        assert max(counts) <= 700
    assert len(counts) <= 4
    assert everything(index) == set(index.images())


def test_much_at_once_becomes_several_shards(tmp_path: Path) -> None:
    index = opened(tmp_path, ShardRules(min_regions=50, max_regions=300, max_bytes=16))
    fill(index, [f"i{n}" for n in range(200)])
    assert index.seal() == 1000
    counts = [shard.count for shard in index.shards()]
    assert len(counts) == 4
    assert max(counts) <= 300
    assert everything(index) == set(index.images())


def test_a_few_dead_are_taken_out_of_a_shard_as_it_is(tmp_path: Path) -> None:
    index = opened(tmp_path, RULES)
    fill(index, [f"i{n:02d}" for n in range(60)])
    index.seal()
    before = index.shards()[0]
    assert index.delete("i07")
    index.seal()
    shard = index.shards()[0]
    assert (shard.count, before.count) == (295, 300)
    assert (shard.metric, shard.probes) == (before.metric, before.probes)
    assert not (tmp_path / before.file).exists()
    assert everything(opened(tmp_path, RULES)) == {f"i{n:02d}" for n in range(60)} - {"i07"}


def test_files_are_written_anew_when_much_is_dead(tmp_path: Path) -> None:
    index, reader = opened(tmp_path, RULES), opened(tmp_path, RULES)
    names = [f"i{n:02d}" for n in range(60)]
    fill(index, names)
    index.seal()
    index.add(["bare"], [np.zeros((0, WIDTH), np.float32)], [np.zeros((0, 4), np.float32)])
    vectors = {name: index.regions_of(name)[0] for name in names}
    size = (tmp_path / "vectors.f16").stat().st_size
    assert len(reader) == 300
    for name in names[::2]:
        assert index.delete(name)
    index.seal()
    (file,) = tmp_path.glob("*.f16")
    assert file.stat().st_size == size / 2
    for seen in (index, reader, opened(tmp_path, RULES)):
        seen.verify()
        assert seen.num_stored() == 150
        assert seen.images() == ("bare", *names[1::2])
        assert everything(seen) == set(names[1::2])
        for name in names[1::2]:
            assert np.array_equal(seen.regions_of(name)[0], vectors[name])
            hits = seen.search(vectors[name][2:3], 1)
            assert (hits.images[0, 0], hits.regions[0, 0]) == (name, 2)
            assert hits.boxes_xyxy[0, 0].tolist() == [2, 2, 3, 3]


def test_dead_and_excluded_regions_take_nobodys_place(tmp_path: Path) -> None:
    """Twenty deleted images lie closer to the query than all that live."""
    index = opened(tmp_path, RULES)
    fill(index, [f"i{n:02d}" for n in range(60)])
    near = np.repeat(index.regions_of("i07")[0][:1], 5, 0)
    boxes = np.zeros((5, 4), np.float32)
    twins = [f"twin{n}" for n in range(20)]
    index.add(twins, [near] * 20, [boxes] * 20)
    index.seal()
    assert set(index.search(near[:1], 1).images.ravel()) <= {"i07", *twins}
    assert set(index.score_images(near[:1], 1, excluded=twins).images) == {"i07"}
    for twin in twins:
        assert index.delete(twin)
    assert index.search(near[:1], 1).images[0, 0] == "i07"
    assert (index.search(near[:1], 300).images != "").all()
    assert index.score_images(near[:1], 1).images == ("i07",)
    assert "i07" not in index.score_images(near[:1], 1000, excluded=["i07", "gone"]).images


def test_a_search_outlives_files_that_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go between the moment that a search takes up a version and that it opens its files."""
    index = opened(tmp_path, RULES)
    fill(index, [f"i{n:02d}" for n in range(60)])
    query = index.regions_of("i07")[0][:1]
    unchanged = Snapshot._map_queries

    def interrupted(self: Snapshot, queries: FloatArray) -> FloatArray:
        monkeypatch.setattr(Snapshot, "_map_queries", unchanged)
        for n in range(20, 60):
            assert index.delete(f"i{n:02d}")
        index.seal()
        return unchanged(self, queries)

    for ask in ("search", "score_images"):
        reader = opened(tmp_path, RULES)
        monkeypatch.setattr(Snapshot, "_map_queries", interrupted)
        found = getattr(reader, ask)(query, 5)
        assert "i07" in set(np.ravel(found.images))
        assert Snapshot._map_queries is unchanged
        fill(index, [f"i{n:02d}" for n in range(20, 60)])


def interrupt_verify(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Let something happen between the moment that a check knows its files and that it opens them.

    Once: the check that is made again is left alone.
    """
    unchanged = VectorStore.verify

    def interrupted(self: VectorStore, *arguments: Version) -> None:
        monkeypatch.setattr(VectorStore, "verify", unchanged)
        meanwhile()
        unchanged(self, *arguments)

    monkeypatch.setattr(VectorStore, "verify", interrupted)


def test_files_that_are_written_anew_meanwhile_are_no_corruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path, RULES)
    fill(index, [f"i{n:02d}" for n in range(60)])
    reader = opened(tmp_path, RULES)
    unchanged = VectorStore.verify

    def compact() -> None:
        for n in range(20, 60):
            assert index.delete(f"i{n:02d}")
        index.seal()

    interrupt_verify(monkeypatch, compact)
    reader.verify()
    assert VectorStore.verify is unchanged
    assert len(reader) == 100


def test_corruption_is_told_also_while_others_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy writer must not keep a check going round for ever."""
    index, reader = opened(tmp_path, RULES), opened(tmp_path, RULES)
    fill(index, [f"i{n:02d}" for n in range(60)])
    file = tmp_path / "vectors.f16"
    file.write_bytes(b"\0\0\0\0" + file.read_bytes()[4:])
    rounds = []

    def busy() -> None:
        rounds.append(1)
        assert len(rounds) < 9
        fill(index, ["new"], seed=len(rounds))
        interrupt_verify(monkeypatch, busy)

    interrupt_verify(monkeypatch, busy)
    with pytest.raises(ShardCorrupt, match=r"vectors\.f16"):
        reader.verify()


def test_others_add_and_delete_during_a_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path, RULES)
    other = RegionIndex(tmp_path, "encoder-a", WIDTH, shard_rules=RULES, lock_timeout_s=0.05)
    fill(index, [f"i{n:02d}" for n in range(60)])

    def meanwhile(*arguments: object) -> tuple[ShardRef, ...]:
        shards = seal_spans(*arguments)  # type: ignore[arg-type]
        fill(other, ["new", "i05"], seed=9)
        assert other.delete("i06")
        with pytest.raises(IndexBusy):
            other.seal()
        return shards

    monkeypatch.setattr(region_index, "seal_spans", meanwhile)
    assert index.seal() == 300
    wanted = {f"i{n:02d}" for n in range(60)} - {"i06"} | {"new"}
    replaced = clustered(10, 9).reshape(2, 5, WIDTH)[1]
    for seen in (index, other):
        assert everything(seen) == wanted
        assert np.array_equal(seen.regions_of("i05")[0], replaced.astype(np.float16))
        assert seen.waiting() == 10


def test_a_reader_of_another_encoder_never_sees_a_rebuilt_folder(tmp_path: Path) -> None:
    index = opened(tmp_path, RULES)
    fill(index, ["a"])
    for file in tmp_path.iterdir():
        file.unlink()
    foreign = RegionIndex(tmp_path, "encoder-b", WIDTH, shard_rules=RULES)
    fill(foreign, ["b"])
    assert foreign._store.version.revision == index._store.version.revision
    with pytest.raises(EncoderMismatch, match="rebuilt"):
        index.search(clustered(1, 0), 1)
    with pytest.raises(EncoderMismatch, match="rebuilt"):
        fill(index, ["c"])
    assert everything(foreign) == {"b"}


def test_the_lists_searched_are_as_few_as_the_recall_allows() -> None:
    vectors = clustered(10_000, 0)[:, :8].copy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(len(vectors), dtype=np.int64) + 7
    rules = ShardRules(recall=1.0, max_bytes=4)
    built = build(rows, rows // 5, lambda own: vectors[own - 7], rules)
    assert built.recall >= 0.95
    assert built.index.ntotal == 10_000
    inverted = faiss.extract_index_ivf(built.index)
    assert built.probes < inverted.nlist
    # What it promises is what a search with so many lists gives, across images.
    inverted.nprobe = built.probes
    asked = rows[::97]
    similarities = vectors[asked - 7] @ vectors.T
    similarities[rows[None] // 5 == asked[:, None] // 5] = -np.inf
    truth = np.argsort(-similarities, axis=1)[:, :TUNED_K] + 7
    found = built.index.search(vectors[asked - 7], TUNED_K * OVERSAMPLE)[1]
    shares = [np.isin(truth[row], found[row]).mean() for row in range(len(asked))]
    assert np.mean(shares) == pytest.approx(built.recall, abs=0.05)


def test_a_plan_keeps_large_shards_and_drops_stale_ones(tmp_path: Path) -> None:
    index = opened(tmp_path, RULES)
    fill(index, [f"i{n:02d}" for n in range(100)])
    index.seal()
    fill(index, [f"j{n}" for n in range(12)])
    snapshot: Snapshot = index._current()
    (kept,) = index.shards()
    assert plan(snapshot, RULES) == [Span(0, 500, 500, kept), Span(500, 560, 60)]
    for n in range(30):
        index.delete(f"i{n:02d}")
    assert plan(index._current(), RULES)[0] == Span(0, 500, 350)
