"""Coded segments of the region index: a fifth of the space, the same answers."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.index.code import GAINS, CodeRules, decode, encode
from curation.index.coded import Segment, SegmentRef, write_segment
from curation.index.metric import Metric, MetricRules, fit_metric
from curation.index.rows import MANY, Rows
from curation.index.shards import ShardRules
from curation.kernel.errors import ShardCorrupt
from curation.kernel.types import FloatArray
from tests.curation.test_index import WIDTH, brute_force, clustered, fill, opened

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


def near(vectors: FloatArray, metric: Metric) -> list[set[int]]:
    """The ten nearest of each of the first hundred."""
    mapped = metric.apply(vectors)
    return [set(one.tolist()) for one in np.argsort(-(mapped[:100] @ mapped.T), axis=1)[:, 1:11]]


def back(folder: Path, ref: SegmentRef, width: int) -> FloatArray:
    return Segment(folder, ref, width).decoded(np.arange(ref.count))


def test_a_segment_takes_a_fifth_and_keeps_who_is_near_under_its_metric(tmp_path: Path) -> None:
    """The metric is the pool's, the segment a part of it: their leading directions differ."""
    vectors, other = like_regions(3000, 0), like_regions(3000, 1)
    metric = fit_metric(other, MetricRules())
    kept = {}
    for name, known, rules in (
        ("with", metric, CodeRules(coarse=0)),
        ("without", None, CodeRules(coarse=0)),
        ("later", None, CodeRules()),
    ):
        ref = write_segment(tmp_path / name, 0, vectors, known, rules)
        pairs = zip(near(back(tmp_path, ref, WIDE), metric), near(vectors, metric), strict=True)
        kept[name] = np.mean([len(found & wanted) / 10 for found, wanted in pairs])
    record = Segment(tmp_path, ref, WIDE).records(np.array([0]))
    assert record.nbytes == 2 * (96 + 32 + 96 // 2 + 2) < 2 * WIDE / 4.8
    assert kept["with"] > 0.97
    assert kept["with"] > kept["later"] > kept["without"]
    assert kept["later"] > 0.9


def test_a_region_far_out_is_as_exact_as_any_and_costs_the_others_nothing(tmp_path: Path) -> None:
    vectors = like_regions(2000, 0)
    alone = back(tmp_path, write_segment(tmp_path / "a.seg", 0, vectors), WIDE)
    vectors[7] += 200 * (vectors[8] - vectors[9])
    found = back(tmp_path, write_segment(tmp_path / "b.seg", 0, vectors), WIDE)
    off = np.linalg.norm(found - vectors, axis=1)
    assert off[7] < 0.02 * np.linalg.norm(vectors[7])
    others = np.arange(2000) != 7
    before = np.linalg.norm(alone - vectors, axis=1)[others]
    assert off[others].mean() < 1.2 * before.mean()


def test_numbers_are_off_by_half_a_unit_of_their_rows_gain_at_most() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32) * np.arange(1, 9)
    rows[3] = 0
    coded = encode(rows, None, CodeRules(extra=-90, coarse=2))
    assert (coded.fine, coded.coarse) == (6, 2)
    along, present = decode(coded.records[:, None], coded.fine)
    assert present[:, 0].tolist() == [n != 3 for n in range(500)]
    off = rows - coded.mean - (along[:, 0] * coded.scales) @ coded.basis.astype(np.float32)
    off = off[present[:, 0]] @ np.linalg.pinv(coded.basis.astype(np.float64))
    gains = GAINS[coded.records[present[:, 0], -2:]]
    units = coded.scales * np.repeat(gains, (coded.fine, coded.coarse), axis=1)
    assert (np.abs(off) < 0.9 * units).all()  # half, and the basis is nearly orthogonal
    assert (np.abs(off) > 0.4 * units).any()


def former(path: Path, start: int, vectors: FloatArray, kept: int = 16) -> SegmentRef:
    """A segment of the layout before: int8 along leading directions of each half."""
    split = vectors.reshape(len(vectors), 2, -1)
    bases, means, steps, codes = [], [], [], []
    for part in (split[:, 0], split[:, 1]):
        there = np.abs(part).max(1) > 0
        mean = part[there].mean(0)
        _, directions = np.linalg.eigh((part[there] - mean).T @ (part[there] - mean))
        basis = directions[:, ::-1][:, :kept].T.astype(np.float16)
        along = (part - mean) @ basis.astype(np.float32).T
        step = np.abs(along[there]).max(0) / 127
        code = np.rint(along / step).clip(-127, 127).astype(np.int8)
        code[~there] = -128
        for items, item in zip(
            (bases, means, steps, codes), (basis, mean, step, code), strict=True
        ):
            items.append(item)
    arrays = [np.stack(bases), np.float32(means), np.float32(steps), np.stack(codes, 1)]
    path.write_bytes(b"".join(array.tobytes() for array in arrays))
    return SegmentRef(path.name, start, len(vectors), 2, kept, zlib.crc32(path.read_bytes()))


def test_what_is_mapped_from_codes_equals_what_is_mapped_from_decoded_vectors(
    tmp_path: Path,
) -> None:
    vectors = clustered(900, 0)
    vectors[[5, 250, 650], WIDTH // 2 :] = 0  # empty rings
    narrow = fit_metric(vectors, MetricRules(width=5, min_sample=10))
    few = CodeRules(extra=2, coarse=4)
    segments = [
        write_segment(tmp_path / "0.seg", 0, vectors[:200], narrow, few),
        write_segment(tmp_path / "1.seg", 200, vectors[200:400], None, few),
        write_segment(tmp_path / "2.seg", 400, vectors[400:600], narrow, few),
        former(tmp_path / "3.seg", 600, vectors[600:800]),
    ]
    rows = Rows(tmp_path, segments, vectors[800:].astype(np.float16))
    asked = np.random.default_rng(1).integers(900, size=700)
    asked[:3] = (5, 250, 650)
    for metric in (narrow, fit_metric(vectors, MetricRules()), Metric.identity(WIDTH)):
        found = rows.mapped(asked, metric)
        assert found == pytest.approx(metric.apply(rows.read(asked)), abs=2e-6)
        assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
        assert rows.mapped(asked[:0], metric).shape == (0, metric.width)
    assert narrow.apply(rows.read(asked)) == pytest.approx(narrow.apply(vectors[asked]), abs=0.05)


def test_a_large_read_leaves_no_pages_of_the_index_in_the_process(tmp_path: Path) -> None:
    """A few reads would map all of an index otherwise, since one row maps those around it."""
    ref = write_segment(tmp_path / "one.seg", 0, like_regions(MANY, 0), None)
    rows = Rows(tmp_path, [ref], np.zeros((0, WIDE), np.float16))
    size_kb = (tmp_path / ref.file).stat().st_size / 1024

    few = rows.read(np.arange(0, MANY, 64))
    assert resident_kb(tmp_path / ref.file) > 0.5 * size_kb
    every = rows.read(np.arange(MANY))
    assert resident_kb(tmp_path / ref.file) == 0
    np.testing.assert_array_equal(every[::64], few)
    rows.mapped(np.arange(MANY), Metric.identity(WIDE))
    assert resident_kb(tmp_path / ref.file) == 0


def resident_kb(path: Path) -> int:
    """Of a mapped file, what of it this process holds."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
        for mapping in lines
        if mapping.endswith(str(path))
    )


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


def test_a_search_over_codes_equals_comparison_with_what_is_stored(tmp_path: Path) -> None:
    index = opened(tmp_path, ShardRules(min_regions=50, max_bytes=16, code_rows=100))
    for step in range(3):
        fill(index, [f"{step}-{n}" for n in range(60)], seed=step)
        index.compress()
    index.seal()
    fill(index, ["late"], seed=9)
    assert len(list(tmp_path.glob("coded-*"))) == 3
    queries = clustered(4, 11)
    scores, hits = index.score_images(queries), index.search(queries, 1)
    for row, query in enumerate(queries):
        truth = brute_force(index, query)
        told = dict(zip(scores.images, scores.similarities[row].tolist(), strict=True))
        assert told == pytest.approx(truth, abs=1e-5)
        assert hits.similarities[row, 0] == pytest.approx(max(truth.values()), abs=1e-5)


def test_files_written_anew_hold_the_same_codes(tmp_path: Path) -> None:
    """However often: what is left of a segment is copied, not coded once more."""
    index = opened(tmp_path, ShardRules(min_regions=50, max_bytes=16, code_rows=100))
    for step in range(2):
        fill(index, [f"{step}-{n:02d}" for n in range(60)], seed=step)
        index.seal()
    vectors = {name: index.regions_of(name)[0] for name in index.images()}
    left = set(vectors)
    for gone in range(4):
        dead = [name for name in sorted(left) if int(name[2:]) % 6 == gone]
        dead += [f"late-{gone - 1}-{n}" for n in range(40) if gone]
        for name in dead:
            assert index.delete(name)
        left -= set(dead)
        fill(index, [f"late-{gone}-{n}" for n in range(40)], seed=gone)
        stored = index.num_stored()
        index.seal()
        if gone:
            assert index.num_stored() < stored  # all was written anew
        index.verify()
        for name in left:
            assert np.array_equal(index.regions_of(name)[0], vectors[name])
    assert len(left) == 40


def test_too_little_of_a_segment_is_coded_anew_with_its_neighbours(tmp_path: Path) -> None:
    index = opened(tmp_path, ShardRules(min_regions=10, max_bytes=16, code_rows=100))
    exact = {}
    for step in range(4):
        names = [f"{step}-{n:02d}" for n in range(30)]
        fill(index, names, seed=step)
        exact |= {name: index.regions_of(name)[0] for name in names}
        index.compress()
    coded = {name: index.regions_of(name)[0] for name in exact}
    for name in exact:
        if name < "2" and int(name[2:]) >= 8:
            assert index.delete(name)
    index.seal()
    assert len(list(tmp_path.glob("coded-*"))) == 3  # two small ones became one
    for name in index.images():
        found = index.regions_of(name)[0]
        if name < "2":
            once = np.abs(coded[name] - exact[name]).max()
            assert np.abs(found - exact[name]).max() < 3 * once + 1e-3
        else:
            assert np.array_equal(found, coded[name])


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
