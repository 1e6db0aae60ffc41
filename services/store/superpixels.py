"""Superpixels of stored images, kept so that a re-explanation uses the same ones for nothing.

A partition is named by the image's hash and its parameters. Losing or damaging a file costs the
seconds of making it again, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np

from curation import superpixels
from curation.kernel.errors import ShardCorrupt
from curation.kernel.types import ImageArray
from curation.superpixels import SegmentArray, Segmentation
from services.store.storage import DiskFull, read_npz, write_npz

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
) -> SegmentArray:
    """The superpixels of an image: those kept, or new ones that are then kept.

    Args:
        cache: folder of partitions, made where it is missing.
        image_id: hash of the image's bytes.
        image: [H, W, 3] uint8.
        size_hw: (h, w) of the network input.
        num_segments: how many are asked for.
        method: see :func:`curation.superpixels.segment`.

    Returns:
        [h, w] int32 in 0..S-1.
    """
    key = _key(image_id, size_hw, num_segments, method)
    file = cache / key[:2] / f"{key}.npz"
    kept = _read(file, size_hw)
    if kept is not None:
        return kept
    segments = superpixels.segment(image, size_hw, num_segments, method)
    try:
        write_npz(file, segments=_small(segments))
        _forget_oldest(file.parent)
    except (OSError, DiskFull) as error:
        logger.warning("superpixels are not kept: %s", error)
    return segments


def _key(image_id: str, size_hw: tuple[int, int], num_segments: int, method: str) -> str:
    asked = 0 if method in ("quickshift", "felzenszwalb") else num_segments  # they do not look
    text = json.dumps([image_id, *size_hw, asked, method], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(file: Path, size_hw: tuple[int, int]) -> SegmentArray | None:
    """A kept partition, None where there is none that can be used."""
    if not file.is_file():
        return None
    try:
        segments = read_npz(file)["segments"].astype(np.int32)
        present = np.unique(segments)
        whole = segments.shape == size_hw and np.array_equal(present, np.arange(len(present)))
    except (ShardCorrupt, KeyError, OSError) as error:
        logger.warning("%s is made again: %s", file.name, error)
        return None
    if not whole:
        logger.warning("%s is made again: it is no partition of %s", file.name, size_hw)
        return None
    _touch(file)
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
