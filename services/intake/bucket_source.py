"""A data set in a bucket of the user's own: brought beside the project, read, and let go again.

Readers of annotations need files. So all of the data set comes to this machine once, some objects
at a time, and goes when the import is done. What breaks off is taken up: an object is fetched again
only if it has changed. Pictures then lie in the project's store, or stay where they are and are
referred to (:mod:`services.store.references`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from curation.formats import Problem
from curation.kernel.files import write_atomically
from services.context import Context
from services.errors import Conflict, NotFound
from services.store.objects import Entry, ObjectChanged, ObjectLost, Objects, walk
from services.store.project_store import bucket_at, cache_folder
from services.store.references import Reference

logger = logging.getLogger(__name__)

AT_A_TIME = 16
BATCH = 256
"""Objects between two notes of what is here."""
JOURNAL = "fetched.jsonl"
FILES = (".json", ".yaml", ".yml", ".txt", ".xml")
"""What the last part of a URL ends in where it names a file and no folder."""
Tell = Callable[[int, int], None]


class Mirror:
    """The copy of a data set on this machine.

    Attributes:
        url: of the data set.
        source: the folder or file that readers are given.
        problems: objects that could not be fetched.
    """

    def __init__(self, url: str, objects: Objects, folder: Path, file: str) -> None:
        self.url = url
        self.problems: list[Problem] = []
        self._objects = objects
        self._folder = folder
        self._root = folder / "files"
        self.source = self._root / file if file else self._root

    def fetch(self, tell: Tell) -> None:
        """Bring here what is not here yet.

        Raises:
            NotFound: nothing is there.
            DiskFull: there is no space; what is here stays for the next try.
            StoreUnavailable, StoreRefused: the bucket does not answer, or refuses.
        """
        known, entries = self._known(), list(walk(self._objects))
        if not entries:
            raise NotFound(f"{self.url}: nothing is there")
        with ThreadPoolExecutor(AT_A_TIME) as pool, (self._folder / JOURNAL).open("a") as journal:
            for start in range(0, len(entries), BATCH):
                batch = entries[start : start + BATCH]
                fetched = list(pool.map(lambda entry: self._one(entry, known), batch))
                lines = [
                    json.dumps([e.key, e.etag])
                    for e, new in zip(batch, fetched, strict=True)
                    if new
                ]
                journal.writelines(line + "\n" for line in lines)
                journal.flush()
                tell(min(start + BATCH, len(entries)), len(entries))

    def reference_of(self, path: Path) -> Reference:
        """Where a file of the copy is in the bucket."""
        key = path.resolve().relative_to(self._root.resolve()).as_posix()
        parts = urlsplit(self.url)
        folder = unquote(parts.path).strip("/")
        if self.source != self._root:  # the URL names a file in it
            folder = folder.rpartition("/")[0]
        return Reference(f"s3://{parts.netloc}", f"{folder}/{key}".lstrip("/"))

    def forget(self) -> None:
        """Let the copy go; all of it is in the project."""
        shutil.rmtree(self._root, ignore_errors=True)
        (self._folder / JOURNAL).unlink(missing_ok=True)

    def _one(self, entry: Entry, known: dict[str, str]) -> bool:
        """Fetch an object; whether it is new here."""
        path = self._place(entry.key)
        if path is None:
            return False
        if known.get(entry.key) == entry.etag and path.is_file():
            return False
        try:
            write_atomically(path, lambda file: self._filled(entry.key, file))
        except (ObjectLost, ObjectChanged, FileExistsError, NotADirectoryError) as error:
            self.problems.append(Problem(entry.key, f"left out: {error}", "image"))
            return False
        return True

    def _filled(self, key: str, file: Path) -> None:
        self._objects.fetch(key, file)

    def _place(self, key: str) -> Path | None:
        """Where an object's copy is; None of what can be no file, such as a folder's marker."""
        parts = PurePosixPath(key).parts
        if key.endswith("/") or not parts:
            return None
        if key.startswith("/") or ".." in parts or "\0" in key or "//" in key:
            self.problems.append(Problem(key[:200], "left out: no name of a file", "image"))
            return None
        return self._root.joinpath(*parts)

    def _known(self) -> dict[str, str]:
        """Etags of what is here, by key; a last line that was cut off by a kill is none."""
        file, found = self._folder / JOURNAL, dict[str, str]()
        if file.exists():
            text = file.read_text()
            for line in text.split("\n")[:-1]:
                key, etag = json.loads(line)
                found[key] = etag
            if not text.endswith("\n"):
                os.truncate(file, len(text[: text.rfind("\n") + 1].encode()))
        return found


def url_in(source: Path | str) -> str:
    """The URL of a bucket that was named as a source, "" where it is a path."""
    text = str(source)
    return f"s3://{text.removeprefix('s3:').lstrip('/')}" if text.startswith("s3:/") else ""


@contextmanager
def mirrored(context: Context, url: str, tell: Tell) -> Iterator[Mirror]:
    """A data set of a bucket as files, for the length of the block; the copy stays until forgotten.

    Args:
        context: wiring; endpoint and credentials are those of ``[storage]``.
        url: ``s3://bucket/prefix``, or of an annotation file beside its pictures.
        tell: told objects fetched and objects in all.

    Raises:
        InvalidRequest: it is no such URL, or the library for buckets is not installed.
        Conflict: another process is importing from it.
    """
    folder_url, file = url.rstrip("/"), ""
    if PurePosixPath(url).suffix.lower() in FILES:
        folder_url, _, file = url.rpartition("/")
    objects = bucket_at(context.settings.storage, context.project.root, folder_url)
    name = hashlib.sha256(objects.name.encode()).hexdigest()[:16]
    folder = cache_folder(context.settings, context.project.root) / "imports" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{url} is being imported by another process") from None
        mirror = Mirror(url, objects, folder, file)
        mirror.fetch(tell)
        yield mirror
