"""Files of embedded batches: what of the pool's vectors lies beside the index.

A batch is two objects: the vectors of whole images, and those of the regions. In a project folder
the second goes once the region index holds it: stored twice, regions are most of what a project
weighs. In a store of its own both stay and never change: of them the index can be built again
without the encoder, on any host. Earlier versions kept both in one file, which is read as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.kernel.types import FloatArray
from services.context import Context
from services.store.project_store import store_of
from services.store.storage import key_of, read_arrays, write_arrays

Arrays = Mapping[str, npt.NDArray[Any]]
IN_INDEX = ("vectors", "boxes")
"""Arrays that the index holds too."""


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of a batch.

    Attributes:
        vectors: [R, W] float32 of each image.
        boxes_xyxy: [R, 4] px of each.
    """

    vectors: list[FloatArray]
    boxes_xyxy: list[FloatArray]


def write(
    context: Context,
    file: str,
    vectors: list[FloatArray],
    boxes_xyxy: list[FloatArray],
    wholes: FloatArray,
) -> None:
    """Store a batch, what says that it is whole last.

    Args:
        context: wiring.
        file: as its rows will name it.
        vectors: [R, W] of each image.
        boxes_xyxy: [R, 4] px of each.
        wholes: [N, D].

    Raises:
        DiskFull: there is no space; StoreUnavailable: the bucket does not answer.
    """
    write_arrays(
        context,
        _regions_key(context, file),
        vectors=np.concatenate(vectors).astype(np.float16),
        boxes=np.concatenate(boxes_xyxy),
    )
    write_arrays(
        context,
        key(context, file),
        counts=np.array([len(one) for one in vectors], np.int64),
        wholes=wholes.astype(np.float16),
    )


def key(context: Context, file: str) -> str:
    """The key of a batch.

    Raises:
        NotAllowed: the row names a file outside.
    """
    return key_of(context, context.project.embeddings, file)


def read(context: Context, file: str, only: Collection[str] | None = None) -> Arrays:
    """What a batch holds of whole images: ``counts`` of their regions, and ``wholes``.

    Raises:
        FileNotFoundError: it is lost; ShardCorrupt: it is damaged.
    """
    return read_arrays(context, key(context, file), only)


def regions_of(context: Context, file: str) -> Regions | None:
    """The regions of a batch, None where only the index holds them.

    Raises:
        FileNotFoundError: the batch is lost; ShardCorrupt: it is damaged.
    """
    batch = arrays = read(context, file)
    if IN_INDEX[0] not in batch:
        try:
            arrays = read_arrays(context, _regions_key(context, file))
        except FileNotFoundError:
            return None
    ends = np.cumsum(batch["counts"])[:-1]
    vectors = np.split(arrays["vectors"].astype(np.float32), ends)
    return Regions(vectors, np.split(arrays["boxes"], ends))


def drop_regions(context: Context, file: str) -> bool:
    """Let the index alone hold the regions of a batch, in a project folder; whether any went.

    Only once they are there for good.

    Raises:
        DiskFull: there is no space; the file is as it was.
    """
    store = store_of(context)
    if store.is_apart(context.project.root):
        return False
    arrays, aside = read(context, file), _regions_key(context, file)
    if IN_INDEX[0] in arrays:
        kept = {name: array for name, array in arrays.items() if name not in IN_INDEX}
        if "wholes" in kept:  # older files hold twice the digits that are looked at
            kept["wholes"] = kept["wholes"].astype(np.float16)
        write_arrays(context, key(context, file), **kept)
        return True
    if not store.exists(aside):
        return False
    store.delete(aside)
    return True


def _regions_key(context: Context, file: str) -> str:
    return key(context, f"{file.removesuffix('.npz')}.regions.npz")
