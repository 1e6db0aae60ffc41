"""Rows of a table as the answers of an index."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curation.index.lance_table import matrix
from curation.index.snapshot import Hits, ImageScores
from curation.kernel.types import FloatArray, IntArray


def newest(rows: pa.Table) -> pa.Table:
    """Rows without those of older additions of an image, each once, in the order they came."""
    latest = rows.group_by("image").aggregate([("added", "max")])
    if len(latest) < len(rows.group_by(["image", "added"]).aggregate([])):
        top = dict(zip(latest["image"].to_pylist(), latest["added_max"].to_pylist(), strict=True))
        pairs = zip(rows["image"].to_pylist(), rows["added"].to_pylist(), strict=True)
        rows = rows.filter(pa.array([top[name] == added for name, added in pairs], pa.bool_()))
    order = np.lexsort([rows["place"].to_numpy(), rows["added"].to_numpy()])
    keys = np.stack([rows["added"].to_numpy()[order], rows["place"].to_numpy()[order]], 1)
    images = rows["image"].combine_chunks().dictionary_encode().indices.to_numpy()[order]
    same = (keys[1:] == keys[:-1]).all(1) & (images[1:] == images[:-1])
    return rows.take(pa.array(order[np.concatenate([[True], ~same])[: len(order)]]))


def keys_of(rows: pa.Table) -> list[tuple[str, int, int]]:
    """What each row is told from the others by."""
    columns = (rows[name].to_pylist() for name in ("image", "region", "added"))
    return list(zip(*columns, strict=True))


def nothing(count: int) -> FloatArray:
    """[count, 0], of queries that nothing is compared with."""
    return np.zeros((count, 0), np.float32)


def hits_of(rows: pa.Table | None, places: IntArray, similarities: FloatArray, k: int) -> Hits:
    """Hits of rows at places [Q, <= k]."""
    found = places.shape[1]
    images = np.full((len(places), k), "", np.object_)
    regions = np.full((len(places), k), -1, np.int64)
    boxes = np.zeros((len(places), k, 4), np.float32)
    values = np.full((len(places), k), -np.inf, np.float32)
    if rows is not None and found:
        images[:, :found] = np.array(rows["image"].to_pylist(), np.object_)[places]
        regions[:, :found] = rows["region"].to_numpy()[places]
        boxes[:, :found] = matrix(rows["box"])[places]
        values[:, :found] = similarities
    return Hits(images, regions, boxes, values)


def best_of(rows: pa.Table, similarities: FloatArray) -> ImageScores:
    """The best row of each image, of similarities [Q, N]."""
    encoded = rows["image"].combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    sorting = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[sorting] = np.arange(len(names))
    group = rank[encoded.indices.to_numpy()]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    ordered = similarities[:, order]
    best = np.maximum.reduceat(ordered, starts, axis=1)
    # The first of each image that is as good as its best.
    is_best = ordered == np.repeat(best, np.diff(starts, append=len(order)), axis=1)
    places = np.where(is_best, np.arange(len(order)), len(order))
    rows_of = order[np.minimum.reduceat(places, starts, axis=1)]
    boxes = matrix(rows["box"])[rows_of]
    return ImageScores(tuple(names[place] for place in sorting), best, boxes)
