"""Vectors of the objects that the champion was trained on: what is not missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from curation.embed import RegionEmbedder
from curation.errors import CurationError
from curation.manifest import ManifestItem
from curation.select import KnownObjects
from curation.types import Box, FloatArray
from services.context import Context
from services.datasets import read_version
from services.db.engine import reading
from services.db.tables import DatasetVersion, Image, Model
from services.storage import open_image, read_npz, write_npz

PER_CLASS = 200
"""Objects of a class that are looked at; a rank among 200 is known to half a percent."""


def known_objects(
    context: Context, champion: Model, embedder: RegionEmbedder
) -> KnownObjects | None:
    """A sample of the champion's training objects, embedded once and then kept.

    Returns:
        None for a champion whose training set is not here, such as an imported model.
    """
    if champion.dataset_version_id is None:
        return None
    name = f"known-{embedder.version[:16]}-{champion.dataset_version_id[:16]}.npz"
    path = context.project.embeddings / name
    if path.exists():
        arrays = read_npz(path)
        return KnownObjects(arrays["vectors"], arrays["labels"])
    with reading(context.sessions) as session:
        manifest = read_version(
            context, session.get_one(DatasetVersion, champion.dataset_version_id)
        )
    names = tuple(champion.class_names)
    vectors, labels = [np.zeros((0, embedder.width), np.float32)], list[int]()
    for item in _sample(manifest.items):
        found = _embedded(context, item, embedder)
        if len(found):
            vectors.append(found)
            labels.extend(names.index(label) if label in names else 0 for label in item.labels)
    known = KnownObjects(np.concatenate(vectors), np.array(labels, np.int64))
    write_npz(path, vectors=known.vectors, labels=known.labels)
    return known


def _sample(items: Sequence[ManifestItem]) -> Iterator[ManifestItem]:
    """Items in an order of no meaning, until every class has been seen often enough."""
    wanted = Counter({label: PER_CLASS for item in items for label in item.labels})
    for item in sorted(items, key=lambda item: item.image):  # ids are hashes
        if any(wanted[label] > 0 for label in item.labels):
            wanted.subtract(item.labels)
            yield item


def _embedded(context: Context, item: ManifestItem, embedder: RegionEmbedder) -> FloatArray:
    """[n, W] float32 of an item's objects; none where the image cannot be opened."""
    with reading(context.sessions) as session:
        row = session.get(Image, item.image)
    if row is None:
        return np.zeros((0, embedder.width), np.float32)
    try:
        pixels = open_image(context.project, row)
    except (CurationError, OSError):
        return np.zeros((0, embedder.width), np.float32)
    boxes: list[Box] = list(item.boxes_xyxy)
    found = embedder.embed_failures(pixels, boxes, [[] for _ in boxes])
    return np.array([one.object_vector for one in found], np.float32).reshape(-1, embedder.width)
