"""Files of a project: images named by content, arrays written whole or not at all."""

from __future__ import annotations

import errno
import io
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.kernel import files, images
from curation.kernel.errors import ShardCorrupt
from curation.kernel.images import ImageLimits
from curation.kernel.types import ImageArray
from services.config import builders
from services.config.project import Project
from services.context import Context
from services.db.tables import Image
from services.store.space import DiskFull as DiskFull  # where users of this module look for it
from services.store.space import full_told

_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, TokenError)
"""What single changed bytes of an archive of arrays lead to; the last of a header's."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that lies in the store; what a row says about it."""

    id: str
    file: str
    width_px: int
    height_px: int
    perceptual_hash: str


def put_image(
    project: Project, data: bytes, limits: ImageLimits = ImageLimits(), name: str = "image"
) -> StoredImage:
    """Check an image and store its bytes under their hash; storing twice is storing once.

    Raises:
        ImageUnreadable: it cannot be decoded or is outside the limits.
        DiskFull: there is no space.
    """
    image = check_image(data, limits, name)
    keep_image(project, image, data)
    return image


def keep_image(
    project: Project, image: StoredImage, data: bytes, group: files.Together | None = None
) -> None:
    """Store the bytes of a checked image, unless they are there.

    Args:
        project: whose store.
        image: what its row will say.
        data: the bytes.
        group: files that are finished together later, see :func:`finish`; None: this one now.

    Raises:
        DiskFull: there is no space.
    """
    path = project.images / image.file
    if path.is_file() or (group is not None and path in group):
        return
    if group is None:
        write_bytes(path, data)
    else:
        with full_told(path.name):
            group.write(path, data)


def finish(group: files.Together) -> None:
    """Wait until the files of a group are on the disk; from here on rows may name them.

    Raises:
        DiskFull: there is no space.
    """
    with full_told("new files"):
        group.finish()


def check_image(
    data: bytes, limits: ImageLimits = ImageLimits(), name: str = "image"
) -> StoredImage:
    """What :func:`put_image` would return; nothing is written.

    Raises:
        ImageUnreadable: it cannot be decoded or is outside the limits.
    """
    pixels = images.decode(data, limits, name)
    identity = images.content_hash(data)
    return StoredImage(
        id=identity,
        file=f"{identity[:2]}/{identity}{images.suffix_of(data, name)}",
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
        perceptual_hash=f"{images.perceptual_hash(pixels):016x}",
    )


def open_image(context: Context, image: Image) -> ImageArray:
    """The pixels [H, W, 3] uint8 of a stored image.

    Under the limits that it came in by: what is let in is looked at.

    Raises:
        ImageUnreadable: it is damaged, or outside the limits that are set now.
        FileNotFoundError: it is lost.
        NotAllowed: the row names a file outside the store.
    """
    path = context.project.inside(context.project.images, image.file)
    return images.decode(path.read_bytes(), builders.image_limits(context.settings), image.name)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises:
        DiskFull: there is no space; what was begun is removed.
    """
    with full_told(path.name):
        files.write_bytes(path, data)


def write_npz(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write named arrays, whole or not at all.

    Raises:
        DiskFull: there is no space.
    """
    buffer = io.BytesIO()
    # numpy's own signature has keywords that an array name could meet
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path, only: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Named arrays of a file; pickled objects are refused.

    Args:
        path: of the file.
        only: names of those wanted; the others are not decompressed. None for all.

    Raises:
        ShardCorrupt: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if only is None or name in only}
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place in the file that cannot be
            raise
        raise ShardCorrupt(f"{path.name}: damaged ({error})") from error
    except _DAMAGE as error:
        raise ShardCorrupt(f"{path.name}: damaged ({error})") from error
