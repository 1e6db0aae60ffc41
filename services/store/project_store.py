"""The files of a project, wherever they are kept: by key, and as local files where one is needed.

In a folder every method reads or writes the file itself. From a bucket what never changes under its
key is read through a cache on this machine. An image is named by the hash of its bytes: one that
was changed is told as damaged, and costs only itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from curation.kernel.errors import CurationError
from services.config.settings import Settings
from services.context import Context
from services.store.cache import Cache
from services.store.groups import AT_A_TIME, BucketGroup, FolderGroup
from services.store.objects import (
    Entry,
    ObjectLost,
    Objects,
    checked,
    open_objects,
    walk,
)
from services.store.space import DiskFull

logger = logging.getLogger(__name__)

IMMUTABLE = ("images/", "models/", "generators/", "manifests/", "explanations/", "segments/")
"""Keys under which nothing is ever replaced by anything else."""
FOLDERS = ("images", "models", "generators", "manifests", "explanations", "modes")
"""What is kept in the store; the rest of a project lies in its folder."""
_NAMED_BY_HASH = re.compile(r"images/[0-9a-f]{2}/([0-9a-f]{64})\.[A-Za-z0-9]+")


class ObjectDamaged(CurationError):
    """An object does not hold the bytes that it is named by."""

    code = "object_damaged"


class ProjectStore:
    """See the module; one a process, by :func:`store_of`.

    Args:
        objects: where everything is.
        cache: of what is not on this machine.
    """

    def __init__(self, objects: Objects, cache: Cache) -> None:
        self.objects = objects
        self._cache = cache

    @property
    def root(self) -> Path | None:
        """The folder, where the store is one; key and relative path are the same."""
        return self.objects.root

    def get(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            ObjectLost: there is none (a ``FileNotFoundError``).
            ObjectDamaged: it was changed.
            StoreUnavailable: the bucket does not answer; StoreRefused: it answers and refuses.
        """
        if self.root is not None or not key.startswith(IMMUTABLE):
            data = self.objects.get(key)[0]
            _require_named(key, data)
            return data
        try:
            data = self._cache.read(checked(key), partial(self._fetch, key))
            if _is_named(key, data):
                return data
            logger.warning("the copy of %s is damaged: fetched again", key)
            self._cache.drop(key)
            return self._cache.read(key, partial(self._fetch, key))
        except DiskFull as error:
            logger.warning("%s is read without keeping it: %s", key, error)
            data = self.objects.get(key)[0]
            _require_named(key, data)
            return data

    def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes or a file, whole or not at all.

        Raises:
            DiskFull: there is no space.
            StoreUnavailable, StoreRefused: see :meth:`get`.
        """
        self.objects.put(key, data)

    def put_new(self, key: str, data: bytes) -> None:
        """Store what is named by its content, unless it is there already. Errors: :meth:`put`."""
        there = self.objects.head(key)
        if there is None or there.size != len(data):
            self.objects.put(key, data)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self.objects.head(key) is not None

    def delete(self, key: str) -> None:
        """Delete an object; twice is once."""
        self.objects.delete(key)
        if self.root is None:
            self._cache.drop(key)

    def walk(self, folder: str = "") -> Iterator[Entry]:
        """What there is below a folder."""
        return walk(self.objects, folder)

    def together(self) -> FolderGroup | BucketGroup:
        """Many objects for a few waits; see :mod:`services.store.groups`."""
        return BucketGroup(self.put_new) if self.root is None else FolderGroup(self.root)

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """An object as a file of this machine, for the length of the block; a map of it stays.

        Raises: as :meth:`get`.
        """
        if self.root is not None:
            path = self.root / checked(key)
            if not path.is_file():
                raise ObjectLost(key, self.objects.name)
            yield path
            return
        with self._cache.borrowed() as folder:
            path = folder / key.rpartition("/")[2]
            self._lend(key, path)
            yield path

    @contextlib.contextmanager
    def local_folder(self, folder: str, without: str = "") -> Iterator[Path]:
        """What lies in a folder of objects as files of this machine, for the length of the block.

        Args:
            folder: such as ``models/3f2a``.
            without: beginning of names that are not wanted.

        Raises:
            ObjectLost: nothing is there.
        """
        if self.root is not None:
            path = self.root / checked(folder)
            if not path.is_dir():
                raise ObjectLost(folder, self.objects.name)
            yield path
            return
        names = [entry.key.removeprefix(f"{folder}/") for entry in self.walk(folder)]
        names = [name for name in names if not without or not name.startswith(without)]
        if not names:
            raise ObjectLost(folder, self.objects.name)
        with self._cache.borrowed() as local:
            for name in names:
                self._lend(f"{folder}/{name}", local / name)
            yield local

    @contextlib.contextmanager
    def local_images(self, files: Iterable[str], name: str = "") -> Iterator[Path]:
        """Images as files of this machine: what the ``file`` of their rows is relative to.

        An image that is lost or damaged is missing in it, and costs the others nothing.

        Args:
            files: of the images.
            name: of the use; the same name has the same folder, also in another process, as what
                is resumed needs. "" for a folder of its own.

        Raises:
            StoreUnavailable, StoreRefused: see :meth:`get`.
        """
        if self.root is not None:
            yield self.root / "images"
            return
        with contextlib.ExitStack() as stack:
            if name:
                local = self._cache.folder / "staged" / name
                stack.callback(_remove, local)
            else:
                local = stack.enter_context(self._cache.borrowed())
            with ThreadPoolExecutor(AT_A_TIME) as pool:
                list(pool.map(partial(self._stage, local), set(files)))
            yield local

    def _stage(self, local: Path, file: str) -> None:
        try:
            self._lend(f"images/{file}", local / file)
        except (ObjectLost, ObjectDamaged) as error:
            logger.warning("an image cannot be used: %s", error)

    def _lend(self, key: str, to: Path) -> None:
        self._cache.lend(checked(key), partial(self._fetch, key), to)

    def _fetch(self, key: str, file: Path) -> None:
        """Fill a file with an object that is what its name says."""
        self.objects.fetch(key, file)
        if said := hash_in(key):
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if found != said:
                raise _damaged(key)


def store_of(context: Context) -> ProjectStore:
    """The store of a project; made at the first use, in the process that uses it."""
    return opened(context.settings, context.project.root)


def cache_folder(settings: Settings, project: Path) -> Path:
    """Where copies of what lies in a bucket are kept."""
    return project / (settings.storage.cache_folder or Path("cache")).expanduser()


def opened(settings: Settings, project: Path) -> ProjectStore:
    """The store that settings name.

    Args:
        settings: see ``settings.storage``.
        project: the project folder.
    """
    wanted = settings.storage
    key = (project, *((name, value) for name, value in wanted))
    with _opening:
        known = _stores.get(key)
        if known is None:
            cache = Cache(cache_folder(settings, project), wanted.cache_bytes)
            known = _stores[key] = ProjectStore(open_objects(wanted, project), cache)
    return known


_stores: dict[tuple[object, ...], ProjectStore] = {}
_opening = threading.Lock()


def hash_in(key: str) -> str:
    """The SHA-256 that an object is named by, as 64 hex digits; "" where the name says none."""
    found = _NAMED_BY_HASH.fullmatch(key)
    return "" if found is None else found[1]


def _is_named(key: str, data: bytes) -> bool:
    said = hash_in(key)
    return not said or hashlib.sha256(data).hexdigest() == said


def _require_named(key: str, data: bytes) -> None:
    if not _is_named(key, data):
        raise _damaged(key)


def _damaged(key: str) -> ObjectDamaged:
    return ObjectDamaged(
        f"{key} does not hold what it is named by: it was changed; import the same picture again, "
        "or restore it from a backup"
    )


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
