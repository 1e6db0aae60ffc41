"""What coding region vectors costs: bytes, neighbours, and the images found for what fails.

Regions of street scenes are coded in segments as the index does it. Neighbours are compared with
those under exact vectors (half floats) and the same metric, once under the metric that the code
was made for and once under a later one: codes outlive metrics. An object with a planted cause asks
for images; of its ten best the share is told that exact vectors find too, and the share that holds
the cause.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.retrieval.measure import K, Row, estimate
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.index.code import CodeRules
from curation.index.coded import Segment, write_segment
from curation.index.metric import Metric, MetricRules, fit_metric
from curation.kernel.types import BoolArray, FloatArray, IntArray
from services.demo import street

SEGMENT = 16_384
CODES: dict[str, tuple[bool, CodeRules]] = {
    "metric + 32 + 96 / 2 (the index)": (True, CodeRules()),
    "metric + 0 + 96 / 2": (True, CodeRules(extra=0)),
    "metric + 32 + 0": (True, CodeRules(coarse=0)),
    "metric + 96 + 0": (True, CodeRules(extra=96, coarse=0)),
    "metric + 64 + 128 / 2": (True, CodeRules(extra=64, coarse=128)),
    "own 128 + 96 / 2": (False, CodeRules()),
}
"""Directions of the metric, own ones with a byte and own ones with half a byte, of each half."""


class World:
    """Regions of pool images, and what asks for them.

    Args:
        kept: file of the vectors, computed once.
        images: of the pool.
        failing: scenes of the field.
        seed: of the world.
    """

    def __init__(self, kept: Path, images: int, failing: int, seed: int = 0) -> None:
        if not kept.exists():
            _embed(kept, images, failing, seed)
        with np.load(kept) as arrays:
            self.vectors: FloatArray = arrays["vectors"].astype(np.float32)  # [I, R, W]
            self.queries: FloatArray = arrays["queries"]  # [F, W]
            self.holds: BoolArray = arrays["holds"]  # [F, I]


def _embed(kept: Path, images: int, failing: int, seed: int) -> None:
    embedder, config = RegionEmbedder(TimmEncoder()), street.WorldConfig()
    vectors, planted = [], []
    for scene in street.generate(config, "pool", images, seed):
        vectors.append(embedder.embed_pool([scene.image])[0].vectors.astype(np.float16))
        planted.append(scene.planted)
    queries, causes = [], []
    for scene in street.generate(config, "field", failing, seed):
        for box, cause in zip(scene.truth.boxes_xyxy, scene.causes, strict=True):
            if cause is not None:
                asked = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
                queries.append(embedder.embed_objects([scene.image], [[asked]])[0][0])
                causes.append(cause)
    holds = np.array([[cause in names for names in planted] for cause in causes])
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, vectors=np.stack(vectors), queries=np.stack(queries), holds=holds)


def measure(world: World, regions_asked: int = 500) -> list[Row]:
    """Each code, half floats first."""
    flat = world.vectors.reshape(-1, world.vectors.shape[2])
    asked = np.arange(0, len(flat), -(-len(flat) // regions_asked))
    metric = fit_metric(flat, MetricRules())
    early = fit_metric(flat[: len(flat) // 4], MetricRules())
    exact = [_neighbours(metric, flat[asked], flat, asked), _images(metric, world, flat)]
    same = [np.ones(len(asked), np.float32)] * 2
    rows = [_row("half floats", 2 * flat.shape[1], same, exact, world, exact)]
    for name, (spanned, rules) in CODES.items():
        found, size = _coded(flat, metric if spanned else None, rules)
        later, _ = _coded(flat, early if spanned else None, rules)
        near = [
            _same(_neighbours(metric, flat[asked], one, asked), exact[0]) for one in (found, later)
        ]
        own = [exact[0], _images(metric, world, found)]
        rows.append(_row(name, size, near, own, world, exact))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _coded(flat: FloatArray, metric: Metric | None, rules: CodeRules) -> tuple[FloatArray, int]:
    """Vectors as they come back, and bytes a region without what a segment holds once."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.seg"
        for start in range(0, len(flat), SEGMENT):
            own = flat[start : start + SEGMENT]
            ref = write_segment(path, 0, own, metric, rules)
            segment = Segment(Path(folder), ref, flat.shape[1])
            found.append(segment.decoded(np.arange(len(own))))
            size = int(np.prod(segment.records(np.zeros(1, np.int64)).shape))
    return np.concatenate(found), size


def _neighbours(metric: Metric, asked: FloatArray, flat: FloatArray, own: IntArray) -> IntArray:
    """[Q, K] nearest regions to exact vectors of the pool, of which each is ``own`` row."""
    similarities = metric.apply(asked) @ metric.apply(flat).T
    similarities[np.arange(len(own)), own] = -np.inf
    return _best(similarities, K)


def _images(metric: Metric, world: World, flat: FloatArray) -> IntArray:
    """[F, K] images with the best region for each failure."""
    similarities = metric.apply(world.queries) @ metric.apply(flat).T
    return _best(similarities.reshape(len(world.queries), len(world.vectors), -1).max(2), K)


def _best(similarities: FloatArray, count: int) -> IntArray:
    order: IntArray = np.argsort(-similarities, 1, kind="stable")[:, :count]
    return order


def _same(found: IntArray, wanted: IntArray) -> FloatArray:
    pairs = zip(found, wanted, strict=True)
    shares: FloatArray = np.array([np.isin(own, other).mean() for own, other in pairs])
    return shares


def _row(
    name: str,
    size: int,
    near: list[FloatArray],
    own: list[IntArray],
    world: World,
    exact: list[IntArray],
) -> Row:
    useful = np.take_along_axis(world.holds, own[1], 1).mean(1)
    return {
        "code": name,
        "bytes": size,
        "regions_at_10": estimate(near[0], np.mean),
        "regions_at_10_later_metric": estimate(near[1], np.mean),
        "images_at_10": estimate(_same(own[1], exact[1]), np.mean),
        "hold_the_cause": estimate(useful, np.mean),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| code of each half | bytes | regions | regions, later metric | images | hold the cause |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        shares = [
            "{:.3f} [{:.3f}, {:.3f}]".format(*row[name])
            for name in (
                "regions_at_10",
                "regions_at_10_later_metric",
                "images_at_10",
                "hold_the_cause",
            )
        ]
        lines.append("| " + " | ".join([row["code"], str(row["bytes"]), *shares]) + " |")
    return "\n".join(lines)
