"""The region indexes of a project go with its files: into a store for all hosts, or out of one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from curation.index.depot import MANIFEST, manifest_of
from curation.index.state import STATE, is_at
from curation.index.vectors import VectorStore
from curation.index.version import VERSION_FILE
from curation.kernel.errors import CurationError
from services.context import Context
from services.store import lance_engine
from services.store.depots import INDEX, StoreDepot
from services.store.faiss_engine import LOCK_S
from services.store.objects import Objects, walk


def is_project(context: Context, objects: Objects) -> bool:
    """Whether a store is the project folder, where an index is files and not objects."""
    root = objects.root
    return root is not None and root.resolve() == context.project.root.resolve()


def is_file_anywhere(key: str) -> bool:
    """Whether an object below ``index`` is the same file in a project folder and in a store."""
    return lance_engine.SUFFIX in key.split("/")[1] and key.count("/") > 1


def move_indexes(context: Context, source: Objects, target: Objects) -> Iterator[str]:
    """Put indexes where the other files go; every byte is read back and compared.

    Between two stores their objects are copied like any others, which is not done here.

    Yields:
        What is wrong with one that was not moved.

    Raises:
        StoreUnavailable, StoreRefused, DiskFull: called again it goes on.
    """
    if is_project(context, source):
        for folder in sorted(context.project.index.glob("[!.]*/")):
            if (folder / VERSION_FILE).is_file() and "." not in folder.name:
                yield from _told(folder.name, partial(_publish, context, folder, target))
    elif is_project(context, target):
        for name in _names(source):
            yield from _told(name, partial(_bring, context, name, source))


def _told(name: str, move: Callable[[], None]) -> Iterator[str]:
    try:
        move()
    except (CurationError, ValueError) as error:
        yield f"{INDEX}/{name} is not moved: {error}"


def _names(objects: Objects) -> list[str]:
    keys = [entry.key for entry in walk(objects, INDEX)]
    return sorted(key.split("/")[1] for key in keys if key.endswith(f"/{MANIFEST}"))


def _publish(context: Context, folder: Path, target: Objects) -> None:
    said = json.loads((folder / VERSION_FILE).read_bytes())
    encoder, width = str(said["encoder"]), int(said["width"])
    depot = StoreDepot(target, encoder)
    if not is_at(folder, depot):
        VectorStore(folder, encoder, width, LOCK_S).publish(depot)
    with tempfile.TemporaryDirectory(dir=context.project.state) as scratch:
        VectorStore(Path(scratch), encoder, width, LOCK_S, depot).verify()


def _bring(context: Context, name: str, source: Objects) -> None:
    depot = StoreDepot(source, name)
    version = manifest_of(depot.get(MANIFEST)[0], depot.name).version
    folder = context.project.index / name
    store = VectorStore(folder, version.encoder, version.width, LOCK_S, depot)
    store.verify()
    (folder / STATE).unlink(missing_ok=True)
