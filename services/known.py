"""Vectors of the objects that the champion was first trained on: what is not missing.

Labels that a failure asked for do not count. That a few of a kind were labelled does not mean
that the kind is learnt: counted, they take the budget from modes that are half fixed, and more of
what the first cycle fixed opens again in the second (``benchmarks/loop``, part ``cycles``). A mode
that is fixed has no failures left to ask with.
"""

from __future__ import annotations

import hashlib
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
    """A sample of the training objects that no failure asked for, embedded once and then kept.

    Returns:
        None for a champion whose training set is not here, such as an imported model.
    """
    if champion.dataset_version_id is None:
        return None
    with reading(context.sessions) as session:
        manifest = read_version(
            context, session.get_one(DatasetVersion, champion.dataset_version_id)
        )
    names = tuple(champion.class_names)
    sample = list(_sample([item for item in manifest.items if item.origin is None]))
    told = repr((names, [(item.image, item.boxes_xyxy, item.labels) for item in sample]))
    digest = hashlib.sha256(told.encode()).hexdigest()
    path = context.project.embeddings / f"known-{embedder.version[:16]}-{digest[:16]}.npz"
    if path.exists():
        arrays = read_npz(path)
        return KnownObjects(arrays["vectors"], arrays["labels"])
    vectors, labels = [np.zeros((0, embedder.width), np.float32)], list[int]()
    for item in sample:
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
