"""Moving a project's files from one store to another: resumable, compared by hash, then switched.

What is copied is noted in a journal beside the database, so that a move that was killed goes on
where it was. Each object is read back from where it went, and its hash compared with that of what
was read. Only when all is there may the settings name the new store; the old one is left as it is.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.kernel.files import write_bytes
from services.config.settings import PROJECT_FILE
from services.context import Context
from services.errors import Conflict, InvalidRequest
from services.store.depots import INDEX
from services.store.hashes import hash_in
from services.store.objects import Entry, ObjectLost, Objects, open_objects, walk
from services.store.project_store import FOLDERS, OF_RUNS
from services.upkeep.move_index import is_file_anywhere, is_project, move_indexes

JOURNAL = "store-move.jsonl"
AT_A_TIME = 8
BATCH = 64
"""Objects between two writes of the journal."""
Tell = Callable[[str, int, int], None]


@dataclass(slots=True)
class Moved:
    """What a move did.

    Attributes:
        objects: copied and compared, of this and earlier runs.
        bytes: of those.
        copied: of them, in this run.
        wrong: objects that are not what they are named by, or could not be copied, and why.
    """

    objects: int = 0
    bytes: int = 0
    copied: int = 0
    wrong: list[str] = field(default_factory=list)


def store_at(context: Context, url: str) -> Objects:
    """The store of a URL, with endpoint and credentials of the settings.

    Args:
        context: wiring.
        url: ``s3://…``, ``file:///…`` or ``project`` for the project folder.

    Raises:
        InvalidRequest: it is no such URL.
    """
    settings = context.settings.storage
    given = "" if url == "project" else url
    try:
        checked = type(settings).model_validate(settings.model_dump() | {"url": given})
    except ValueError as error:
        told = f"{url!r}: name s3://bucket/prefix, file:///folder or project"
        raise InvalidRequest(told) from error
    return open_objects(checked, context.project.root)


def move(context: Context, source: Objects, target: Objects, tell: Tell) -> Moved:
    """Copy everything that the target lacks; called again it goes on.

    Args:
        context: wiring; nothing of the project may be running.
        source: where the files are.
        target: where they shall be.
        tell: told the progress.

    Raises:
        Conflict: both are the same, or a move to another place was begun.
        StoreUnavailable, StoreRefused, DiskFull: as far as it came it need not be done again.
    """
    if source.name == target.name:
        raise Conflict(f"{source.name} is where the files are already")
    journal = _Journal(context.project.state / JOURNAL, source.name, target.name)
    moved = Moved()
    entries = list(_entries(context, source, target))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            results = pool.map(lambda entry: _one(source, target, journal, entry), batch)
            for entry, (digest, wrong) in zip(batch, results, strict=True):
                if wrong:
                    moved.wrong.append(wrong)
                    continue
                moved.copied += not journal.has(entry)
                moved.objects, moved.bytes = moved.objects + 1, moved.bytes + entry.size
                journal.note(entry, digest)
            journal.write()
            tell("objects", min(start + BATCH, len(entries)), len(entries))
    moved.wrong += move_indexes(context, source, target)
    return moved


def _entries(context: Context, source: Objects, target: Objects) -> Iterator[Entry]:
    """What is copied as it is."""
    for folder in FOLDERS:
        yield from walk(source, folder)
    apart = not is_project(context, source) and not is_project(context, target)
    if apart:
        yield from walk(source, INDEX)
    else:  # files of the default engine are objects of another kind there: move_indexes
        yield from (one for one in walk(source, INDEX) if is_file_anywhere(one.key))
    # In a project folder there lies besides what training processes work with.
    yield from (one for one in walk(source, "runs") if apart or OF_RUNS.fullmatch(one.key))


def switch(context: Context, target: str) -> None:
    """Have the project's settings name another store, once all is there.

    Raises:
        InvalidRequest: the file cannot be changed by itself; the message says what to write.
    """
    file = context.project.root / PROJECT_FILE
    text = file.read_text()
    wanted = tomllib.loads(text)
    wanted["storage"] = wanted.get("storage", {}) | {"url": target}
    changed = _with_url(text, target)
    if not _says(changed, wanted):
        raise InvalidRequest(f'all is copied; write url = "{target}" under [storage] in {file}')
    write_bytes(file, changed.encode())
    (context.project.state / JOURNAL).unlink(missing_ok=True)


def _says(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _with_url(text: str, url: str) -> str:
    line = f"url = {json.dumps(url)}"
    lines = text.splitlines()
    names = [one.strip() for one in lines]
    if "[storage]" not in names:
        return "\n".join([*lines, *([""] if lines else []), "[storage]", line]) + "\n"
    begin = names.index("[storage]") + 1
    end = next((n for n in range(begin, len(names)) if names[n].startswith("[")), len(names))
    kept = [one for one in lines[begin:end] if one.split("=")[0].strip() != "url"]
    return "\n".join([*lines[:begin], line, *kept, *lines[end:]]) + "\n"


def _one(source: Objects, target: Objects, journal: _Journal, entry: Entry) -> tuple[str, str]:
    """Copy one object and read it back; its hash, and what is wrong with it."""
    if journal.has(entry):
        there = target.head(entry.key)
        if there is not None and there.size == entry.size:
            return journal.digest(entry), ""
    try:
        data = source.get(entry.key)[0]
    except ObjectLost:
        return "", f"{entry.key} went while it was moved: run it again"
    digest = hashlib.sha256(data).hexdigest()
    if hash_in(entry.key) not in ("", digest):
        return "", f"{entry.key} does not hold what it is named by: it is not copied"
    target.put(entry.key, data)
    if hashlib.sha256(target.get(entry.key)[0]).hexdigest() != digest:
        return "", f"{entry.key} came back from {target.name} as something else: run it again"
    return digest, ""


class _Journal:
    """What is at the target already, by key: the etag at the source, and the hash."""

    def __init__(self, path: Path, source: str, target: str) -> None:
        self._path = path
        self._known: dict[str, tuple[str, str]] = {}
        self._new: list[dict[str, Any]] = []
        head = {"source": source, "target": target}
        lines = list(_read(path))
        if lines and lines[0] != head:
            raise Conflict(
                f"a move from {lines[0].get('source')} to {lines[0].get('target')} was begun: end "
                f"it, or delete {path}"
            )
        for line in lines[1:]:
            self._known[line["key"]] = line["etag"], line["sha256"]
        if not lines:
            self._new.append(head)

    def has(self, entry: Entry) -> bool:
        return self._known.get(entry.key, ("", ""))[0] == entry.etag

    def digest(self, entry: Entry) -> str:
        return self._known[entry.key][1]

    def note(self, entry: Entry, digest: str) -> None:
        if not self.has(entry):
            self._known[entry.key] = entry.etag, digest
            self._new.append({"key": entry.key, "etag": entry.etag, "sha256": digest})

    def write(self) -> None:
        with self._path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in self._new)
        self._new = []


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a journal; a last one that was cut off by a kill is none."""
    if not path.exists():
        return
    for text in path.read_text().split("\n")[:-1]:
        yield json.loads(text)
