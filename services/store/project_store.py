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

from services.config.setting_groups import StorageSettings
from services.config.settings import Settings
from services.context import Context
from services.errors import InvalidRequest
from services.store.cache import Cache
from services.store.groups import AT_A_TIME, BucketGroup, FolderGroup
from services.store.hashes import ObjectDamaged as ObjectDamaged  # where users look for it
from services.store.hashes import damaged, hash_in, is_named, require_named
from services.store.objects import (
    Entry,
    ObjectLost,
    Objects,
    checked,
    open_objects,
    walk,
)
from services.store.references import References, reference_key
from services.store.space import DiskFull

logger = logging.getLogger(__name__)

IMMUTABLE = (
    "images/",
    "models/",
    "generators/",
    "manifests/",
    "explanations/",
    "segments/",
    "embeddings/",
    "runs/cycle-",
    "runs/plan-",
)
"""Keys under which nothing is ever replaced by anything else."""
FOLDERS = (
    "images",
    "references",
    "models",
    "generators",
    "manifests",
    "explanations",
    "modes",
    "embeddings",
    "segments",
)
"""What is kept in the store, besides the region index and some of what runs leave."""
OF_RUNS = re.compile(r"runs/(cycle|plan)-[^/]+/pool-[^/]+\.npz")
"""What the champion saw in the pool."""


class ProjectStore:
    """See the module; one a process, by :func:`store_of`.

    Args:
        objects: where everything is.
        cache: of what is not on this machine.
        references: pictures that stay where they are.
    """

    def __init__(self, objects: Objects, cache: Cache, references: References) -> None:
        self.objects = objects
        self._cache = cache
        self._references = references

    @property
    def root(self) -> Path | None:
        """The folder, where the store is one; key and relative path are the same."""
        return self.objects.root

    def is_apart(self, project: Path) -> bool:
        """Whether it is another place than the project folder, as several hosts need one."""
        return self.root is None or self.root.resolve() != project.resolve()

    def get(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            ObjectLost: there is none (a ``FileNotFoundError``).
            ObjectDamaged: it was changed.
            StoreUnavailable: the bucket does not answer; StoreRefused: it answers and refuses.
        """
        if self.root is not None or not key.startswith(IMMUTABLE):
            try:
                data = self.objects.get(key)[0]
            except ObjectLost:
                if self._references.of(key) is None:
                    raise
            else:
                require_named(key, data)
                return data
        try:
            data = self._cache.read(checked(key), partial(self._fetch, key))
            if is_named(key, data):
                return data
            logger.warning("the copy of %s is damaged: fetched again", key)
            self._cache.drop(key)
            return self._cache.read(key, partial(self._fetch, key))
        except DiskFull as error:
            logger.warning("%s is read without keeping it: %s", key, error)
            data = self.objects.get(key)[0]
            require_named(key, data)
            return data

    def original(self, key: str) -> bytes:
        """The bytes as they are where they lie, and not a copy of them; nothing is compared.

        Raises: as :meth:`get`.
        """
        try:
            return self.objects.get(key)[0]
        except ObjectLost:
            reference = self._references.of(key)
            if reference is None:
                raise
            return self._references.get(reference)

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
        """Whether there is such an object, here or where a reference says."""
        return self.objects.head(key) is not None or self._references.of(key) is not None

    def link(self, key: str, seconds: int) -> str | None:
        """A URL under which whoever has it may read an object for so long; None: through us.

        Raises:
            StoreUnavailable, StoreRefused: see :meth:`get`.
        """
        link = self.objects.link(key, seconds)
        if self.root is not None or (link is not None and self.objects.head(key) is None):
            reference = self._references.of(key)
            return link if reference is None else self._references.link(reference, seconds)
        return link

    def delete(self, key: str) -> None:
        """Delete an object; twice is once."""
        self.objects.delete(key)
        if key.startswith("images/"):
            self.objects.delete(reference_key(key))  # the picture itself is its owner's
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
            if path.is_file():
                yield path
                return
            if self._references.of(key) is None:
                raise ObjectLost(key, self.objects.name)
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
        files = set(files)
        if self.root is not None and not any(map(self._is_elsewhere, files)):
            yield self.root / "images"
            return
        with contextlib.ExitStack() as stack:
            if name:
                local = self._cache.folder / "staged" / name
                stack.callback(_remove, local)
            else:
                local = stack.enter_context(self._cache.borrowed())
            with ThreadPoolExecutor(AT_A_TIME) as pool:
                list(pool.map(partial(self._stage, local), files))
            yield local

    def _is_elsewhere(self, file: str) -> bool:
        """Whether an image of a folder is only referred to."""
        key = f"images/{file}"
        return not (self._folder / key).is_file() and self._references.of(key) is not None

    @property
    def _folder(self) -> Path:
        return self.root or Path()

    def _stage(self, local: Path, file: str) -> None:
        own = self._folder / "images" / file
        try:
            if self.root is not None and own.is_file():
                (local / file).parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    (local / file).symlink_to(own)
                return
            self._lend(f"images/{file}", local / file)
        except (ObjectLost, ObjectDamaged) as error:
            logger.warning("an image cannot be used: %s", error)

    def _lend(self, key: str, to: Path) -> None:
        self._cache.lend(checked(key), partial(self._fetch, key), to)

    def _fetch(self, key: str, file: Path) -> None:
        """Fill a file with an object that is what its name says."""
        where = key
        try:
            self.objects.fetch(key, file)
        except ObjectLost:
            reference = self._references.of(key)
            if reference is None:
                raise
            where = reference.url
            self._references.fetch(reference, file)
        if said := hash_in(key):
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if found != said:
                raise damaged(key, where)


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
            objects = open_objects(wanted, project)
            references = References(objects, partial(bucket_at, wanted, project))
            known = _stores[key] = ProjectStore(objects, cache, references)
    return known


def bucket_at(wanted: StorageSettings, project: Path, url: str) -> Objects:
    """Another bucket, with the endpoint and the credentials of the project's store.

    Raises:
        InvalidRequest: it is no URL of a bucket, or the library for those is not installed.
    """
    try:
        settings = type(wanted).model_validate(wanted.model_dump() | {"url": url})
    except ValueError as error:
        raise InvalidRequest(f"{url!r}: name s3://bucket/prefix") from error
    return open_objects(settings, project, any_name=True)


_stores: dict[tuple[object, ...], ProjectStore] = {}
_opening = threading.Lock()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
