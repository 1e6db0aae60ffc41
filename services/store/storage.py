"""Files of a project: images named by content, arrays written whole or not at all."""

from __future__ import annotations

import errno
import io
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.kernel import files, images
from curation.kernel.errors import ImageUnreadable, ShardCorrupt
from curation.kernel.images import ImageLimits
from curation.kernel.types import ImageArray
from services.config import builders
from services.context import Context
from services.db.tables import Image
from services.store.groups import Group
from services.store.project_store import ObjectDamaged, store_of
from services.store.space import DiskFull as DiskFull  # where users of this module look for it
from services.store.space import full_told

IMAGES = "images"
"""Where images are: ``images/<first two digits>/<sha256><suffix>``."""
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
    context: Context, data: bytes, limits: ImageLimits = ImageLimits(), name: str = "image"
) -> StoredImage:
    """Check an image and store its bytes under their hash; storing twice is storing once.

    Raises:
        ImageUnreadable: it cannot be decoded or is outside the limits.
        DiskFull: there is no space; StoreUnavailable: the bucket does not answer.
    """
    image = check_image(data, limits, name)
    keep_image(context, image, data)
    return image


def keep_image(
    context: Context, image: StoredImage, data: bytes, group: Group | None = None
) -> None:
    """Store the bytes of a checked image, unless they are there.

    Args:
        context: wiring.
        image: what its row will say.
        data: the bytes.
        group: objects that are finished together later, see :meth:`ProjectStore.together`; None:
            this one now.

    Raises:
        DiskFull: there is no space; StoreUnavailable: the bucket does not answer.
    """
    key = f"{IMAGES}/{image.file}"
    if group is None:
        store_of(context).put_new(key, data)
    else:
        group.write(key, data)


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
        StoreUnavailable: the bucket does not answer.
    """
    limits = builders.image_limits(context.settings)
    return images.decode(image_bytes(context, image), limits, image.name)


def image_bytes(context: Context, image: Image) -> bytes:
    """The bytes of a stored image, as they came in. Errors as of :func:`open_image`."""
    try:
        return store_of(context).get(image_key(context, image))
    except ObjectDamaged as error:
        raise ImageUnreadable(f"{image.name}: {error}") from error


def image_key(context: Context, image: Image) -> str:
    """Where an image is in the store.

    Raises:
        NotAllowed: the row names a file outside the store.
    """
    return key_of(context, context.project.images, image.file)


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
    write_bytes(path, packed(arrays))


def packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as the bytes of a file."""
    buffer = io.BytesIO()
    # numpy's own signature has keywords that an array name could meet
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def write_arrays(context: Context, key: str, **arrays: npt.NDArray[Any]) -> None:
    """Store named arrays, whole or not at all.

    Raises:
        DiskFull: there is no space; StoreUnavailable: the bucket does not answer.
    """
    store_of(context).put(key, packed(arrays))


def read_arrays(
    context: Context, key: str, only: Collection[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Named arrays of the store. Args and errors as of :func:`read_npz`, and those of a bucket."""
    store = store_of(context)
    if store.root is not None:
        return read_npz(store.root / key, only)
    return _arrays_of(io.BytesIO(store.get(key)), key.rpartition("/")[2], only)


def key_of(context: Context, folder: Path, file: str) -> str:
    """The key of a file that a row names in a folder of the project.

    Raises:
        NotAllowed: it would lie outside.
    """
    context.project.inside(folder, file)
    return f"{folder.relative_to(context.project.root).as_posix()}/{file}"


def read_npz(
    path: Path | io.BytesIO, only: Collection[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Named arrays of a file; pickled objects are refused.

    Args:
        path: of the file, or its bytes.
        only: names of those wanted; the others are not decompressed. None for all.

    Raises:
        ShardCorrupt: the file is damaged.
    """
    return _arrays_of(path, path.name if isinstance(path, Path) else "an object", only)


def _arrays_of(
    file: Path | io.BytesIO, name: str, only: Collection[str] | None
) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {one: stored[one] for one in stored.files if only is None or one in only}
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place in the file that cannot be
            raise
        raise ShardCorrupt(f"{name}: damaged ({error})") from error
    except _DAMAGE as error:
        raise ShardCorrupt(f"{name}: damaged ({error})") from error
