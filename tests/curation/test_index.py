"""The region index: exact where small, compressed where large, whole after any crash."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.index.metric import Metric, MetricRules, fit_metric
from curation.index.shards import ShardRules
from curation.index.vectors import VectorStore
from curation.index.version import VERSION_FILE
from curation.kernel.errors import EncoderMismatch, IndexBusy, ShardCorrupt
from curation.kernel.types import FloatArray

WIDTH = 32
SMALL_SHARDS = ShardRules(min_regions=200, max_bytes=8)


def clustered(count: int, seed: int, centres: int = 40) -> FloatArray:
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(centres, WIDTH))
    rows = means[rng.integers(centres, size=count)] + 0.3 * rng.normal(size=(count, WIDTH)) + 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fill(index: RegionIndex, names: list[str], regions: int = 5, seed: int = 0) -> None:
    vectors = clustered(len(names) * regions, seed).reshape(len(names), regions, WIDTH)
    boxes = np.array([[n, n, n + 1, n + 1] for n in range(regions)], np.float32)
    index.add(names, list(vectors), [boxes] * len(names))


def opened(folder: Path, rules: ShardRules = SMALL_SHARDS) -> RegionIndex:
    return RegionIndex(folder, "encoder-a", WIDTH, shard_rules=rules)


def brute_force(index: RegionIndex, query: FloatArray) -> dict[str, float]:
    mapped = index.metric.apply(query[None])[0].astype(np.float64)
    return {
        name: max(float(row @ mapped) for row in index.metric.apply(index.regions_of(name)[0]))
        for name in index.images()
    }


def test_search_equals_comparison_with_every_region(tmp_path: Path) -> None:
    index = opened(tmp_path)
    fill(index, [f"i{n:03d}" for n in range(80)])
    queries = clustered(3, 7)
    scores, hits = index.score_images(queries), index.search(queries, 4)
    for row, query in enumerate(queries):
        truth = brute_force(index, query)
        assert scores.similarities[row] == pytest.approx(list(truth.values()), abs=1e-5)
        best = max(truth, key=truth.__getitem__)
        assert hits.images[row, 0] == best
        assert hits.similarities[row, 0] == pytest.approx(truth[best], abs=1e-5)
        assert (np.diff(hits.similarities[row]) <= 0).all()
        region = hits.regions[row, 0]
        assert hits.boxes_xyxy[row, 0].tolist() == [region, region, region + 1, region + 1]


def test_sealed_shards_find_what_exact_search_finds(tmp_path: Path) -> None:
    exact, sealed = opened(tmp_path / "a"), opened(tmp_path / "b")
    names = [f"i{n:04d}" for n in range(2400)]
    for index in (exact, sealed):
        fill(index, names)
    assert sealed.seal() == 12_000
    exact._refit()  # a seal fits the metric anew; compare under the same one
    queries = clustered(20, 5)
    wanted, found = exact.search(queries, 10), sealed.search(queries, 10)
    pairs = [
        len(
            set(zip(wanted.images[q], wanted.regions[q], strict=True))
            & set(zip(found.images[q], found.regions[q], strict=True))
        )
        for q in range(len(queries))
    ]
    assert np.mean(pairs) / 10 >= 0.95
    scores, exact_scores = sealed.score_images(queries, 100), exact.score_images(queries)
    column = [exact_scores.images.index(image) for image in scores.images]
    # A seal codes what it compresses: half of 1/127 of a row's largest number is lost.
    assert scores.similarities == pytest.approx(exact_scores.similarities[:, column], abs=1e-2)


def test_delta_and_shards_are_searched_together_and_by_other_readers(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    reader = opened(tmp_path)
    fill(writer, [f"old{n}" for n in range(100)])
    assert len(reader) == 500
    writer.seal()
    fill(writer, [f"new{n}" for n in range(20)], seed=1)
    query = reader.regions_of("new3")[0][:1]
    hits = reader.search(query, 3)
    assert hits.images[0, 0] == "new3"
    assert hits.similarities[0, 0] == pytest.approx(1, abs=1e-3)
    assert len(reader) == 600
    writer.verify()


def test_a_deleted_or_replaced_image_never_comes_back(tmp_path: Path) -> None:
    index = opened(tmp_path)
    names = [f"i{n:03d}" for n in range(100)]
    fill(index, names)
    index.seal()
    before = index.regions_of("i007")[0]
    assert index.delete("i007")
    assert not index.delete("i007")
    fill(index, ["i008"], seed=3)  # replaced
    assert len(index) == 99 * 5
    for _ in range(2):  # before and after the seal that drops it
        everything = index.search(before, 600)
        assert "i007" not in set(everything.images.ravel())
        assert "i007" not in index.score_images(before).images
        rows = [
            (image, region)
            for image, region in zip(everything.images[0], everything.regions[0], strict=True)
            if image == "i008"
        ]
        assert len(rows) == len(set(rows)) <= 5
        index.seal()
    assert sum(ref.count for ref in index._store.version.shards) <= 99 * 5
    assert len(list(tmp_path.glob("shard-*"))) == len(index._store.version.shards)


def test_adding_twice_changes_nothing(tmp_path: Path) -> None:
    index = opened(tmp_path)
    fill(index, ["a", "b"])
    fill(index, ["a", "b"])
    assert index.images() == ("a", "b")
    assert len(index) == 10
    assert "a" in index
    assert "c" not in index


def test_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    index = opened(tmp_path)
    fill(index, ["a"])
    with pytest.raises(EncoderMismatch, match="embed the pool again"):
        RegionIndex(tmp_path, "encoder-b", WIDTH)
    with pytest.raises(EncoderMismatch):
        RegionIndex(tmp_path, "encoder-a", WIDTH + 2)
    with pytest.raises(EncoderMismatch, match="width"):
        index.add(["b"], [np.ones((1, 3), np.float32)], [np.zeros((1, 4), np.float32)])
    with pytest.raises(EncoderMismatch, match="width"):
        index.search(np.ones((1, 3), np.float32), 1)


def test_bad_additions_are_refused_whole(tmp_path: Path) -> None:
    index = opened(tmp_path)
    good, box = np.ones((1, WIDTH), np.float32), np.zeros((1, 4), np.float32)
    for names, vectors, boxes in (
        (["a", "a"], [good, good], [box, box]),
        (["x" * 65], [good], [box]),
        ([""], [good], [box]),
        (["a", "b"], [good, good * np.nan], [box, box]),
        (["a"], [good], [np.zeros((2, 4), np.float32)]),
        (["a\0"], [good], [box]),  # stored without its end, it would come back as "a"
        (["\0a"], [good], [box]),
        (["a", "b"], [good, good * 1e5], [box, box]),  # infinite as it is stored
    ):
        with pytest.raises(ValueError, match=r"image id|finite|boxes"):
            index.add(names, vectors, boxes)
    assert len(index) == 0
    assert not (tmp_path / VERSION_FILE).exists()


def test_the_largest_number_that_half_precision_holds_does_no_harm(tmp_path: Path) -> None:
    index = opened(tmp_path)
    names = [f"i{n}" for n in range(60)]
    fill(index, names)
    huge = clustered(5, 3)
    huge *= 65504 / np.abs(huge).max()
    boxes = np.zeros((5, 4), np.float32)
    with pytest.raises(ValueError, match="half precision"):
        index.add(["huge"], [huge * 1.01], [boxes])
    index.add(["huge"], [huge], [boxes])
    assert index.seal() == 305
    assert index.search(huge[:1], 1).images[0, 0] == "huge"


def test_an_empty_index_answers(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.add([], [], [])
    hits = index.search(clustered(2, 0), 3)
    assert (hits.regions == -1).all()
    assert index.score_images(clustered(2, 0)).similarities.shape == (2, 0)
    assert index.seal() == 0
    index.add(["bare"], [np.zeros((0, WIDTH), np.float32)], [np.zeros((0, 4), np.float32)])
    assert index.images() == ("bare",)
    assert index.score_images(clustered(2, 0)).images == ()


def test_corruption_is_named(tmp_path: Path) -> None:
    index = opened(tmp_path)
    fill(index, [f"i{n}" for n in range(60)])
    index.seal()
    vectors = tmp_path / "vectors.f16"
    whole = vectors.read_bytes()
    vectors.write_bytes(b"\0\0\0\0" + whole[4:])
    with pytest.raises(ShardCorrupt, match=r"vectors\.f16"):
        opened(tmp_path).verify()
    vectors.write_bytes(whole[:-10])
    with pytest.raises(ShardCorrupt, match="shorter"):
        opened(tmp_path)
    vectors.write_bytes(whole)
    shard = next(tmp_path.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ShardCorrupt, match="seal the index again"):
        opened(tmp_path)
    (tmp_path / VERSION_FILE).write_text("{}")
    with pytest.raises(ShardCorrupt, match="version file"):
        opened(tmp_path)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    index = opened(tmp_path)
    other = VectorStore(tmp_path, "encoder-a", WIDTH)
    impatient = RegionIndex(tmp_path, "encoder-a", WIDTH, lock_timeout_s=0.05)
    with other.writing(), pytest.raises(IndexBusy, match="one writer"):
        impatient.delete("a")
    fill(index, ["a"])
    assert impatient.delete("a")


def test_the_metric_removes_what_all_vectors_share() -> None:
    vectors = clustered(2000, 0)
    rules = MetricRules(num_parts=2, width=8, region_weight=0.7)
    metric = fit_metric(vectors, rules)
    mapped = metric.apply(vectors)
    assert mapped.shape == (2000, 16)
    assert np.linalg.norm(mapped, axis=1) == pytest.approx(np.ones(2000), abs=1e-4)
    assert np.linalg.norm(mapped[:, :8], axis=1) ** 2 == pytest.approx(np.full(2000, 0.7), abs=1e-4)
    assert abs(mapped.mean(0)).max() < 0.05
    assert (vectors @ vectors.T).mean() > (mapped @ mapped.T).mean() + 0.3
    assert fit_metric(vectors, rules).name == metric.name


def test_an_absent_ring_counts_for_nothing() -> None:
    vectors = clustered(1000, 0)
    metric = fit_metric(vectors, MetricRules(width=8))
    half = vectors[:1].copy()
    half[:, WIDTH // 2 :] = 0
    mapped = metric.apply(half)
    assert (mapped[:, 8:] == 0).all()
    assert np.linalg.norm(mapped) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rings", [0, 1, 2])
def test_a_metric_is_fitted_where_next_to_no_region_has_a_ring(rings: int) -> None:
    vectors = clustered(300, 0)
    vectors[rings:, WIDTH // 2 :] = 0
    metric = fit_metric(vectors, MetricRules(width=8))
    mapped = metric.apply(vectors)
    assert np.linalg.norm(mapped, axis=1) == pytest.approx(np.ones(300), abs=1e-4)
    assert (mapped[rings:, 8:] == 0).all()


def test_few_vectors_are_compared_as_they_are() -> None:
    vectors = clustered(10, 0)
    metric = fit_metric(vectors, MetricRules())
    assert metric.apply(vectors) == pytest.approx(vectors, abs=1e-6)
    assert metric.name == Metric.identity(WIDTH).name


def test_the_version_file_is_readable_by_people(tmp_path: Path) -> None:
    index = opened(tmp_path)
    fill(index, ["a"])
    described = json.loads((tmp_path / VERSION_FILE).read_text())
    assert described["counts"]["vectors.f16"] == 5
    assert described["encoder"] == "encoder-a"
