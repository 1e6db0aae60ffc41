"""What the champion was first trained on, as vectors: what is not missing.

Labels that a failure asked for do not count. That a few of a kind were labelled does not mean
that the kind is learnt: counted, they take the budget from modes that are half fixed, and more of
what the first cycle fixed opens again in the second (``benchmarks/loop``, part ``cycles``). A mode
that is fixed has no failures left to ask with.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.embedding.embed import FailureEmbedding, RegionEmbedder
from curation.kernel.errors import CurationError, ShardCorrupt
from curation.kernel.manifest import ManifestItem
from curation.kernel.types import Box, FloatArray
from curation.select import KnownObjects
from services.context import Context
from services.db.engine import reading
from services.db.tables import DatasetVersion, Image, Model, Role
from services.models.datasets import labelled_set, read_version
from services.store.storage import key_of, open_image, read_arrays, write_arrays

logger = logging.getLogger(__name__)

PER_CLASS = 200
"""Objects of a class that are looked at; a rank among 200 is known to half a percent."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSample:
    """Some of the images that a model was trained on.

    Attributes:
        objects: theirs.
        wholes: [L, D] float32 of unit length, one vector an image.
    """

    objects: KnownObjects
    wholes: FloatArray


def training_sample(
    context: Context, champion: Model, embedder: RegionEmbedder
) -> TrainingSample | None:
    """A sample of the training images that no failure asked for, embedded once and then kept.

    Nor of drawn ones: a mode would count as known that nobody has a real image of.
    A model that was trained elsewhere is taken to know the seed set.

    Returns:
        None where there is no training image.
    """
    with reading(context.sessions) as session:
        manifest = (
            labelled_set(session, Role.SEED)
            if champion.dataset_version_id is None
            else read_version(context, session.get_one(DatasetVersion, champion.dataset_version_id))
        )
    if not manifest.items:
        return None
    names = tuple(champion.class_names)
    sample = list(
        _sample([item for item in manifest.items if item.origin is None and not item.generated])
    )
    told = repr((names, [(item.image, item.boxes_xyxy, item.labels) for item in sample]))
    digest = hashlib.sha256(told.encode()).hexdigest()
    file = f"training-{embedder.version[:16]}-{digest[:16]}.npz"
    key = key_of(context, context.project.embeddings, file)
    arrays = _kept(context, key)
    if arrays is None:
        arrays, lost = _arrays(context, sample, names, embedder)
        if lost:  # not kept: the next cycle asks whether they are back
            logger.warning(
                "%d of %d training images cannot be opened: what is rare is judged without them",
                lost,
                len(sample),
            )
        else:
            write_arrays(context, key, **arrays)
    return TrainingSample(KnownObjects(arrays["vectors"], arrays["labels"]), arrays["wholes"])


def _kept(context: Context, key: str) -> dict[str, npt.NDArray[Any]] | None:
    try:
        return read_arrays(context, key)
    except FileNotFoundError:
        return None
    except ShardCorrupt as error:
        logger.warning("the training images are embedded again: %s", error)
        return None


def _arrays(
    context: Context, sample: Sequence[ManifestItem], names: Sequence[str], embedder: RegionEmbedder
) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """What is kept of a sample, and how many images cannot be opened and are left out."""
    objects = [np.zeros((0, embedder.width), np.float32)]
    wholes, labels, lost = list[FloatArray](), list[int](), 0
    for item in sample:
        found = _embedded(context, item, embedder)
        if found is None:
            lost += 1
        elif found:
            objects.append(np.stack([one.object_vector for one in found]))
            wholes.append(found[0].whole)
            labels.extend(names.index(label) if label in names else 0 for label in item.labels)
    arrays: dict[str, npt.NDArray[Any]] = {
        "vectors": np.concatenate(objects),
        "labels": np.array(labels, np.int64),
        "wholes": np.stack(wholes) if wholes else np.zeros((0, 0), np.float32),
    }
    return arrays, lost


def _sample(items: Sequence[ManifestItem]) -> Iterator[ManifestItem]:
    """Items in an order of no meaning, until every class has been seen often enough."""
    wanted = Counter({label: PER_CLASS for item in items for label in item.labels})
    for item in sorted(items, key=lambda item: item.image):  # ids are hashes
        if any(wanted[label] > 0 for label in item.labels):
            wanted.subtract(item.labels)
            yield item


def _embedded(
    context: Context, item: ManifestItem, embedder: RegionEmbedder
) -> list[FailureEmbedding] | None:
    """An item's objects; None where the image cannot be opened."""
    with reading(context.sessions) as session:
        row = session.get(Image, item.image)
    if row is None:
        logger.warning("training image %s has no row", item.image)
        return None
    try:
        pixels = open_image(context, row)
    except (CurationError, OSError) as error:
        logger.warning("training image %s: %s", item.image, error)
        return None
    boxes: list[Box] = list(item.boxes_xyxy)
    return embedder.embed_failures(pixels, boxes, [[] for _ in boxes])
