"""Superpixels of stored images, kept so that a re-explanation uses the same ones for nothing.

A partition is named by the image's hash and its parameters. Losing or damaging a file costs the
seconds of making it again, nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from pathlib import Path

import numpy as np

from curation import superpixels
from curation.kernel.errors import ShardCorrupt
from curation.kernel.types import ImageArray
from curation.superpixels import SegmentArray, Segmentation
from services.context import Context
from services.errors import ServiceError
from services.store.project_store import ProjectStore, store_of
from services.store.storage import packed, read_npz, write_bytes

logger = logging.getLogger(__name__)

FILES_A_FOLDER = 80
"""In each of 256 folders: at most 20 000 partitions, about 10 kB each at 320 px."""


def segments_of(
    cache: Path,
    image_id: str,
    image: ImageArray,
    size_hw: tuple[int, int],
    num_segments: int,
    method: Segmentation,
    store: ProjectStore | None = None,
) -> SegmentArray:
    """The superpixels of an image: those kept, or new ones that are then kept.

    Args:
        cache: folder of partitions, made where it is missing.
        image_id: hash of the image's bytes.
        image: [H, W, 3] uint8.
        size_hw: (h, w) of the network input.
        num_segments: how many are asked for.
        method: see :func:`curation.superpixels.segment`.
        store: where those of all hosts lie; None: each has its own.

    Returns:
        [h, w] int32 in 0..S-1.
    """
    key = _key(image_id, size_hw, num_segments, method)
    file = cache / key[:2] / f"{key}.npz"
    kept = _read(file, size_hw)
    if kept is not None:
        return kept
    shared = f"segments/{key[:2]}/{key}.npz"
    known = None if store is None else _fetched(store, shared, size_hw)
    segments = known
    if segments is None:
        segments = superpixels.segment(image, size_hw, num_segments, method)
    data = packed({"segments": _small(segments)})
    try:
        write_bytes(file, data)
        _forget_oldest(file.parent)
        if store is not None and known is None:
            store.put(shared, data)
    except (OSError, ServiceError) as error:
        logger.warning("superpixels are not kept: %s", error)
    return segments


def shared_by_hosts(context: Context) -> ProjectStore | None:
    """Where superpixels of all hosts lie; None where the project folder is the store."""
    store = store_of(context)
    return store if store.is_apart(context.project.root) else None


def _fetched(store: ProjectStore, key: str, size_hw: tuple[int, int]) -> SegmentArray | None:
    """What another host has kept, None where there is none that can be used."""
    try:
        data = store.objects.get(key)[0]
        return _whole(io.BytesIO(data), size_hw)
    except FileNotFoundError:
        return None
    except (ShardCorrupt, ServiceError, OSError) as error:
        logger.warning("%s is made again: %s", key, error)
        return None


def _key(image_id: str, size_hw: tuple[int, int], num_segments: int, method: str) -> str:
    asked = 0 if method in ("quickshift", "felzenszwalb") else num_segments  # they do not look
    text = json.dumps([image_id, *size_hw, asked, method], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(file: Path, size_hw: tuple[int, int]) -> SegmentArray | None:
    """A kept partition, None where there is none that can be used."""
    if not file.is_file():
        return None
    try:
        segments = _whole(file, size_hw)
    except (ShardCorrupt, OSError) as error:
        logger.warning("%s is made again: %s", file.name, error)
        return None
    _touch(file)
    return segments


def _whole(file: Path | io.BytesIO, size_hw: tuple[int, int]) -> SegmentArray:
    """A partition that is one.

    Raises:
        ShardCorrupt: it is damaged, or of another size.
    """
    arrays = read_npz(file)
    if "segments" not in arrays:
        raise ShardCorrupt("it holds no partition")
    segments = arrays["segments"].astype(np.int32)
    present = np.unique(segments)
    if segments.shape != size_hw or not np.array_equal(present, np.arange(len(present))):
        raise ShardCorrupt(f"it is no partition of {size_hw}")
    return segments


def _small(segments: SegmentArray) -> np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger]]:
    return segments.astype(np.uint16 if superpixels.count(segments) <= 2**16 else np.uint32)


def _touch(file: Path) -> None:
    """The least recently used is forgotten first; another process may just forget this one."""
    try:
        os.utime(file)
    except OSError:
        logger.debug("%s is gone or read-only", file)


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.npz"), key=_age)
    for file in files[: max(0, len(files) - FILES_A_FOLDER)]:
        file.unlink(missing_ok=True)


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # forgotten by another process
        return 0.0
