"""What lies in the files of an index, record by record."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.index.coded import SegmentRef
from curation.kernel.errors import ShardCorrupt
from curation.kernel.types import FloatArray

MAX_ID_BYTES = 64
REGION = np.dtype([("entry", "<i4"), ("region", "<i4"), ("box", "<f4", 4)])
ENTRY = np.dtype([("image", f"S{MAX_ID_BYTES}"), ("start", "<i8"), ("count", "<i8")])
DEAD = np.dtype("<i4")


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some records of a new generation.

    Attributes:
        records: file name to records.
        coded: writes the vectors that belong to them as a segment, at a path and from a first row
            on; None where they are among the records, or none are.
    """

    records: Mapping[str, npt.NDArray[Any]]
    coded: Callable[[Path, int], SegmentRef] | None = None


def addition(
    image_ids: Sequence[str],
    vectors: Sequence[FloatArray],
    boxes_xyxy: Sequence[FloatArray],
    first_row: int,
    first_entry: int,
) -> dict[str, npt.NDArray[Any]]:
    """The records of images that are put in, by file; arguments as of ``RegionIndex.add``.

    Args:
        image_ids: of the images.
        vectors: of each.
        boxes_xyxy: of each.
        first_row: number of the first region.
        first_entry: number of the first image.
    """
    counts = np.array([len(rows) for rows in vectors], np.int64)
    entries = np.zeros(len(image_ids), ENTRY)
    entries["image"] = [image_id.encode() for image_id in image_ids]
    entries["start"] = first_row + np.cumsum(counts) - counts
    entries["count"] = counts
    regions = np.zeros(int(counts.sum()), REGION)
    regions["entry"] = np.repeat(np.arange(len(counts)) + first_entry, counts)
    regions["region"] = np.concatenate([np.arange(count) for count in counts])
    regions["box"] = np.concatenate([np.reshape(b, (-1, 4)) for b in boxes_xyxy])
    halves = np.concatenate(vectors).astype(np.float16)
    return {"vectors.f16": halves, "regions.bin": regions, "entries.bin": entries}


def append_bytes(path: Path, end: int, data: bytes) -> None:
    """Write bytes from ``end`` on, to the disk; what a killed writer left there goes.

    Raises:
        ShardCorrupt: the file is shorter.
    """
    path.touch()
    if path.stat().st_size < end:
        raise ShardCorrupt(f"{path} is shorter than its version file says")
    with path.open("r+b") as file:
        file.truncate(end)  # what a crashed writer left behind
        file.seek(end)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
