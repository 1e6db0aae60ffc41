"""What may go into the region index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.index.records import MAX_ID_BYTES
from curation.kernel.errors import EncoderMismatch
from curation.kernel.types import FloatArray


def check_addition(
    image_ids: Sequence[str],
    vectors: Sequence[FloatArray],
    boxes_xyxy: Sequence[FloatArray],
    width: int,
) -> None:
    """See to it that images may be added; arguments and errors as of ``RegionIndex.add``."""
    if len(set(image_ids)) != len(image_ids):
        raise ValueError("an image id is given twice in one call")
    for name, rows, boxes in zip(image_ids, vectors, boxes_xyxy, strict=True):
        if not name or len(name.encode()) > MAX_ID_BYTES:
            raise ValueError(f"image id {name!r} is empty or longer than {MAX_ID_BYTES} bytes")
        if "\0" in name:  # records are filled up with NUL: it would come back as another id
            raise ValueError(f"image id {name!r} holds a NUL character")
        if rows.ndim != 2 or rows.shape[1] != width:
            raise EncoderMismatch(f"{name}: vectors {rows.shape}, the index holds width {width}")
        if len(boxes) != len(rows):
            raise ValueError(f"{name}: {len(rows)} vectors, {len(boxes)} boxes")
        if not _is_storable(rows):
            most = np.finfo(np.float16).max
            raise ValueError(f"{name}: a vector is not finite in half precision (most: {most:g})")


def _is_storable(rows: FloatArray) -> bool:
    """Whether vectors are finite as they are stored."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(rows.astype(np.float16)).all())
