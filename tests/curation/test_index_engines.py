"""What every engine of the region index does: the same answers to the same questions."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curation.index.metric import MetricRules
from curation.index.protocol import PoolIndex
from curation.kernel.errors import EncoderMismatch, ShardCorrupt
from tests.index_engines import ENGINES, REGIONS, WIDTH, clustered, fill, opened

pytest.importorskip("lancedb")
engines = pytest.mark.parametrize("engine", ENGINES)


def names(first: int, count: int) -> list[str]:
    return [f"i{number:05d}" for number in range(first, first + count)]


def by_comparison(index: PoolIndex, query: np.ndarray) -> dict[tuple[str, int], float]:
    """Similarity of every region, in the order in which images were named."""
    mapped = index.metric.apply(query[None])[0]
    return {
        (name, region): float(row @ mapped)
        for name in index.images()
        for region, row in enumerate(index.metric.apply(index.regions_of(name)[0]))
    }


@engines
@pytest.mark.parametrize("images", [20, 80])  # too few for a metric, and enough
def test_search_equals_comparison_with_every_region(
    engine: str, images: int, tmp_path: Path
) -> None:
    index = opened(engine, tmp_path)
    fill(index, names(0, images))
    queries = clustered(3, 7)
    hits, scores = index.search(queries, 4), index.score_images(queries)
    assert scores.images == index.images()
    for row, query in enumerate(queries):
        truth = by_comparison(index, query)
        best = sorted(truth, key=lambda key: -truth[key])[:4]
        found = list(zip(hits.images[row], hits.regions[row].tolist(), strict=True))
        assert found == best
        assert hits.similarities[row] == pytest.approx([truth[key] for key in best], abs=1e-4)
        assert hits.boxes_xyxy[row, :, 0].tolist() == [region for _, region in best]
        for place, name in enumerate(scores.images):
            own = [truth[name, region] for region in range(REGIONS)]
            assert scores.similarities[row, place] == pytest.approx(max(own), abs=2e-3)
            assert own[int(scores.boxes_xyxy[row, place, 0])] == pytest.approx(max(own), abs=4e-3)


def test_engines_give_equal_answers(tmp_path: Path) -> None:
    faiss, lance = (opened(engine, tmp_path / engine) for engine in ENGINES)
    queries = clustered(6, 5)
    for index in (faiss, lance):
        fill(index, names(0, 150))
        index.delete("i00003")
        fill(index, names(7, 2), seed=8)  # replaced
        fill(index, names(200, 1), seed=9)
    assert faiss.images() == lance.images()
    assert len(faiss) == len(lance) == 150 * REGIONS
    assert faiss.metric.name == lance.metric.name  # fitted to the same vectors
    for name in ("i00000", "i00007", "i00200"):
        for one, other in zip(faiss.regions_of(name), lance.regions_of(name), strict=True):
            assert np.array_equal(one, other)
    barred = names(20, 60)
    wanted, found = faiss.search(queries, 10), lance.search(queries, 10)
    assert (wanted.images == found.images).all()
    assert (wanted.regions == found.regions).all()
    assert np.array_equal(wanted.boxes_xyxy, found.boxes_xyxy)
    assert found.similarities == pytest.approx(wanted.similarities, abs=1e-4)
    for excluded, only in ((), None), (barred, None), (barred[:5], names(15, 30)):
        before = faiss.score_images(queries, excluded=excluded, only=only)
        after = lance.score_images(queries, excluded=excluded, only=only)
        assert before.images == after.images
        assert after.similarities == pytest.approx(before.similarities, abs=2e-3)


@engines
def test_what_is_deleted_or_replaced_never_comes_back(engine: str, tmp_path: Path) -> None:
    index, other = opened(engine, tmp_path), opened(engine, tmp_path)
    fill(index, names(0, 100))
    index.seal()
    before = index.regions_of("i00007")[0]
    assert other.delete("i00007")
    assert not index.delete("i00007")
    fill(other, ["i00008"], regions=3, seed=3)
    assert len(index) == 98 * REGIONS + 3
    for _ in range(2):  # before and after the seal that drops it
        everything = index.search(before, 600)
        assert "i00007" not in set(everything.images.ravel())
        assert "i00007" not in index.score_images(before).images
        assert "i00007" not in index
        rows = list(zip(everything.images[0], everything.regions[0].tolist(), strict=True))
        assert sorted(row for row in rows if row[0] == "i00008") == [
            ("i00008", region) for region in range(3)
        ]
        other.seal()
    fill(index, ["i00007"])  # and can come again
    assert other.search(other.regions_of("i00007")[0][:1], 1).images[0, 0] == "i00007"
    with pytest.raises(KeyError):
        index.regions_of("nobody")


@engines
def test_equal_regions_are_all_found_none_twice(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path)
    fill(index, names(0, 60))
    same = np.ones((1, WIDTH), np.float32)
    for name in ("z", "y", "x", "w"):
        index.add([name], [same], [np.zeros((1, 4), np.float32)])
    assert index.search(same, 4).images[0].tolist() == ["z", "y", "x", "w"]
    for k in (2, 3):  # any of them, none twice
        hits = index.search(same, k)
        assert len(set(hits.images[0].tolist()) & {"z", "y", "x", "w"}) == k
        assert hits.similarities[0] == pytest.approx(np.ones(k), abs=1e-3)
    index.seal()
    assert set(index.search(same, 4).images[0]) == {"z", "y", "x", "w"}


@engines
def test_the_excluded_take_no_place_among_those_that_are_asked_for(
    engine: str, tmp_path: Path
) -> None:
    index = opened(engine, tmp_path)
    fill(index, names(0, 80))
    index.seal()
    query = clustered(1, 3)
    ranked = index.score_images(query, k=10_000)
    order = np.argsort(-ranked.similarities[0])
    nearest = [ranked.images[place] for place in order]
    found = index.score_images(query, k=6, excluded=nearest[:40])
    assert not set(found.images) & set(nearest[:40])
    assert nearest[40] in found.images
    assert index.score_images(query, excluded=names(0, 80)).images == ()
    only = index.score_images(query, excluded=nearest[:1], only=[*nearest[:3], "unknown"])
    assert set(only.images) == set(nearest[1:3])


@engines
def test_an_empty_index_finds_nothing(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path)
    query = clustered(2, 1)
    for _ in range(2):
        hits, scores = index.search(query, 3), index.score_images(query)
        assert hits.images.tolist() == [[""] * 3] * 2
        assert hits.regions.tolist() == [[-1] * 3] * 2
        assert np.isneginf(hits.similarities).all()
        assert scores.images == ()
        assert scores.similarities.shape == (2, 0)
        assert (len(index), index.images(), index.seal()) == (0, (), 0)
        assert "a" not in index
        assert not index.delete("a")
        index.verify()
        fill(index, ["a"])
        index.delete("a")


@engines
def test_fewer_regions_than_asked_for_and_images_without_any(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path)
    none = np.zeros((0, WIDTH), np.float32), np.zeros((0, 4), np.float32)
    odd = ["it's", "größer, 图", "a" * 64]
    fill(index, odd, regions=1)
    index.add(["bare"], [none[0]], [none[1]])
    assert index.images() == tuple(sorted([*odd, "bare"]))
    assert len(index) == 3
    hits = index.search(clustered(1, 1), 5)
    assert set(hits.images[0].tolist()) == {*odd, ""}
    assert set(index.score_images(clustered(1, 1)).images) == set(odd)
    assert [part.shape for part in index.regions_of("bare")] == [(0, WIDTH), (0, 4)]
    assert index.delete("it's")
    assert index.delete("bare")
    assert len(index) == 2


@engines
def test_bad_additions_change_nothing(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path)
    fill(index, ["a"])
    good, boxes = clustered(2, 1), np.zeros((2, 4), np.float32)
    bad = good.copy()
    bad[1, 3] = np.inf
    for given in (
        (["b", "b"], [good, good], [boxes, boxes]),
        (["b", "c"], [good, bad], [boxes, boxes]),
        (["b"], [good], [boxes[:1]]),
        (["b" * 65], [good], [boxes]),
        (["b\0"], [good], [boxes]),
    ):
        with pytest.raises(ValueError, match=r"id|finite|boxes"):
            index.add(*given)
    with pytest.raises(EncoderMismatch):
        index.add(["b"], [good[:, :8]], [boxes])
    with pytest.raises(EncoderMismatch):
        index.search(good[:, :8], 3)
    assert index.images() == ("a",)


@engines
def test_vectors_of_another_encoder_are_refused(engine: str, tmp_path: Path) -> None:
    fill(opened(engine, tmp_path), ["a"])
    with pytest.raises(EncoderMismatch, match="embed the pool again"):
        opened(engine, tmp_path, encoder="e" * 16 + "f" * 48)
    with pytest.raises(EncoderMismatch, match="embed the pool again"):
        opened(engine, tmp_path, width=WIDTH * 2)


@engines
def test_a_sealed_index_finds_what_comparison_finds(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path)
    fill(index, names(0, 1000))
    assert index.seal() == 1000 * REGIONS
    fill(index, names(1000, 20), seed=2)
    assert index.waiting() == 20 * REGIONS
    assert len(index) == 1020 * REGIONS
    flat = {name: index.regions_of(name)[0] for name in index.images()}
    stored = index.metric.apply(np.concatenate(list(flat.values())))
    keys = [(name, region) for name in flat for region in range(REGIONS)]
    queries = clustered(20, 5)
    truth = np.argsort(-(index.metric.apply(queries) @ stored.T), axis=1)[:, :10]
    hits = index.search(queries, 10)
    same = [
        len(
            {keys[place] for place in truth[row]}
            & set(zip(hits.images[row], hits.regions[row].tolist(), strict=True))
        )
        for row in range(len(queries))
    ]
    assert np.mean(same) / 10 >= 0.95
    index.verify()


@engines
def test_a_new_metric_leaves_nothing_behind(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path, metric=MetricRules(min_sample=100))
    first = index.metric.name
    fill(index, names(0, 10))
    assert index.metric.name == first  # too few to fit anything
    fill(index, names(10, 30), seed=1)
    second = index.metric.name
    fill(index, names(40, 60), seed=2)
    assert len({first, second, index.metric.name}) == 3
    query = index.regions_of("i00003")[0]
    hits = index.search(query, 1)
    assert hits.images[:, 0].tolist() == ["i00003"] * REGIONS
    assert hits.similarities == pytest.approx(np.ones((REGIONS, 1)), abs=1e-3)
    index.verify()


@engines
def test_a_damaged_file_is_told(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path)
    fill(index, names(0, 50))
    pattern = {"faiss": "vectors*.f16", "lancedb": "**/data/*.lance"}[engine]
    file = max(tmp_path.glob(pattern), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - byte for byte in content[middle : middle + 64])
    file.write_bytes(content)
    with pytest.raises(ShardCorrupt):
        opened(engine, tmp_path).verify()
    file.unlink()
    with pytest.raises(ShardCorrupt):
        opened(engine, tmp_path).verify()


def writer(engine: str, folder: Path, first: int, count: int) -> subprocess.Popen[str]:
    """Another process that adds images once it is told to; it is ready when this returns."""
    program = [sys.executable, "-m", "tests.index_engines", engine, str(folder)]
    process = subprocess.Popen(
        [*program, str(first), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


@pytest.mark.whole
@engines
def test_processes_add_delete_and_search_at_once(engine: str, tmp_path: Path) -> None:
    index = opened(engine, tmp_path)
    fill(index, names(900, 10))
    # Some images are added by both.
    one, two = writer(engine, tmp_path, 0, 20), writer(engine, tmp_path, 15, 20)
    begin(one, two)
    deleted: set[str] = set()
    while one.poll() is None or two.poll() is None:
        hits = index.search(clustered(2, 3), 300)
        for row in range(2):
            found = [
                pair
                for pair in zip(hits.images[row], hits.regions[row].tolist(), strict=True)
                if pair[0]
            ]
            assert len(found) == len(set(found))  # no region twice
            assert len(found) % REGIONS == 0  # no half of an image
            assert not deleted & {name for name, _ in found}
        if len(deleted) < 10:
            name = f"i{900 + len(deleted):05d}"
            assert index.delete(name)
            deleted.add(name)
    assert (one.returncode, two.returncode) == (0, 0)
    assert set(index.images()) == {*names(0, 35), *names(900, 10)} - deleted
    assert len(index) == len(index.images()) * REGIONS
    index.verify()


@pytest.mark.whole
@engines
def test_a_killed_writer_leaves_an_index_that_goes_on(engine: str, tmp_path: Path) -> None:
    killed = writer(engine, tmp_path, 0, 500)
    begin(killed)
    assert killed.stdout is not None
    told = [killed.stdout.readline().strip() for _ in range(5)]
    killed.send_signal(signal.SIGKILL)
    told += killed.stdout.read().split()
    killed.wait()
    index = opened(engine, tmp_path)
    index.verify()
    there = set(index.images())
    assert set(told) <= there  # what was told to be in is in
    assert len(there) <= len(told) + 1
    assert len(index) == len(there) * REGIONS
    fill(index, names(0, 40))
    assert set(index.images()) == there | set(names(0, 40))
    index.seal()
    index.verify()
