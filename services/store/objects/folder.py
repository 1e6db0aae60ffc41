"""Objects as files of a folder: what a project on one machine has."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from curation.kernel import files
from services.store.objects.base import (
    PAGE,
    PART,
    Entry,
    ObjectChanged,
    ObjectExists,
    ObjectLost,
    checked,
)
from services.store.space import full_told

SWAPS = ".e2x-swaps.lock"
"""Beside objects that are swapped: held by who compares and writes."""


class FolderObjects:
    """See :class:`services.store.objects.base.Objects`."""

    def __init__(self, root: Path) -> None:
        self.root: Path | None = root
        self._root = root

    @property
    def name(self) -> str:
        """The folder's URL."""
        return self._root.as_uri()

    def put(self, key: str, data: bytes | Path) -> str:
        """Store bytes or a file, on the disk when this returns."""
        path = self._path(key)
        with full_told(key):
            files.write_atomically(path, lambda file: _fill(file, data))
        return _etag(path.stat())

    def create(self, key: str, data: bytes) -> str:
        """Store bytes where nothing is."""
        path = self._path(key)
        temporary = files.temporary_beside(path)
        try:
            with full_told(key):
                files.write_bytes(temporary, data)
            try:
                os.link(temporary, path)  # a rename would replace what is there
            except FileExistsError:
                raise ObjectExists(f"{key} is in {self.name} already") from None
        finally:
            temporary.unlink(missing_ok=True)
        files.sync(path.parent)  # the new name reaches the disk with its folder
        return _etag(path.stat())

    def swap(self, key: str, data: bytes, etag: str) -> str:
        """Replace what has this etag."""
        path = self._path(key)
        with _held(path.parent):
            entry = self.head(key)
            if entry is None or entry.etag != etag:
                raise ObjectChanged(f"{key} in {self.name} was changed by somebody else: read it")
            before_ns = path.stat().st_mtime_ns

            def fill(file: Path) -> None:
                _fill(file, data)
                stat = file.stat()
                # A file system's clock may stand still for some ms, and an etag may not come back.
                os.utime(file, ns=(stat.st_atime_ns, max(stat.st_mtime_ns, before_ns + 1)))

            with full_told(key):
                files.write_atomically(path, fill)
            return _etag(path.stat())

    def get(self, key: str) -> tuple[bytes, Entry]:
        """Read a file."""
        with self._lost_told(key), self._path(key).open("rb") as file:
            entry = Entry(key, *_known(os.fstat(file.fileno())))
            return file.read(), entry

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read a part of a file."""
        with self._lost_told(key), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def fetch(self, key: str, path: Path) -> Entry:
        """Copy a file."""
        with self._lost_told(key), self._path(key).open("rb") as source:
            entry = Entry(key, *_known(os.fstat(source.fileno())))
            with full_told(key), path.open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)
        return entry

    def head(self, key: str) -> Entry | None:
        """What the file system knows."""
        path = self._path(key)
        try:
            return Entry(key, *_known(path.stat())) if path.is_file() else None
        except FileNotFoundError:
            return None

    def page(self, folder: str = "", after: str = "", most: int = PAGE) -> list[Entry]:
        """Files below a folder; what is being written has a name with a dot and is none yet."""
        top = self._root if not folder else self._path(folder)
        prefix = f"{folder}/" if folder else ""
        found: list[Entry] = []
        for key in _keys(top, prefix, after):
            if len(found) == most:
                break
            entry = self.head(key)
            if entry is not None:
                found.append(entry)
        return found

    def delete(self, key: str) -> None:
        """Delete a file; its folder stays, somebody may just be writing into it."""
        self._path(key).unlink(missing_ok=True)

    def link(self, key: str, seconds: int) -> str | None:
        """A folder gives no URLs."""
        return None

    def _path(self, key: str) -> Path:
        return self._root / checked(key)

    @contextlib.contextmanager
    def _lost_told(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectLost(key, self.name) from error


def _keys(folder: Path, prefix: str, after: str) -> Iterator[str]:
    """Keys below a folder that come after one, in the order of S3: folders end in a slash there."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if PART.fullmatch(entry.name)  # what is being written begins with a dot
            )
    except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile, or never there
        return
    for name in names:
        key = prefix + name
        if not name.endswith("/"):
            if key > after:
                yield key
        elif key > after or after.startswith(key):
            yield from _keys(folder / name, key, after)


def _fill(file: Path, data: bytes | Path) -> None:
    if isinstance(data, bytes):
        file.write_bytes(data)
    else:
        shutil.copyfile(data, file)


def _known(stat: os.stat_result) -> tuple[int, str]:
    return stat.st_size, _etag(stat)


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / SWAPS).open("a") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        yield
