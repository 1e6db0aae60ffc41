"""A backup of a running project, and whether one is whole.

A backup is a project folder itself, with ``backup.json`` beside it that says what every file must
hold: to restore it is to copy it to where it shall run. The order makes it consistent while workers
write. Files are stored before the rows that name them, and none that a row names is ever changed or
deleted; so the database is copied first, and every file that its rows name is there when the files
are copied. Only the region index has files that grow and go: it is held still for the moment in
which the database is copied and its files are linked.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from curation.index.locks import held_still
from curation.kernel.files import temporary_beside, write_json
from services.config.project import TOKEN_FILE
from services.config.settings import PROJECT_FILE
from services.context import Context
from services.db.engine import sqlite_file
from services.errors import Conflict, InvalidRequest
from services.store.depots import INDEX
from services.store.project_store import FOLDERS, ProjectStore, store_of
from services.store.region_index import encoders_in, follow
from services.upkeep.backup_manifest import FORMAT, MANIFEST, described
from services.upkeep.move_index import is_file_anywhere

DATABASE, DUMP = "state/e2x.db", "state/database.dump"
INDEX_WAIT_S = 900.0
"""A seal of some million vectors takes minutes."""
Tell = Callable[[str, int, int], None]
"""Told what is done, how much of it, and how much there is."""


def make(
    context: Context, target: Path, tell: Tell, dump: Path | None = None, link: bool = True
) -> dict[str, Any]:
    """Copy a project, also while it works.

    Args:
        context: wiring of the project.
        target: a folder that does not exist yet, or is empty.
        tell: told the progress.
        dump: what ``pg_dump`` made just before, where the database is PostgreSQL; it must be older
            than the files. None: without the database.
        link: whether files that never change are linked where the disk is the same: that costs no
            space, and a disk that dies takes both.

    Returns:
        What ``backup.json`` says.

    Raises:
        Conflict: the folder is not empty, or one of an unfinished backup lies beside it.
        InvalidRequest: the folder lies among the project's data, or the dump is not there.
        IndexBusy: the region index is written to all the time.
        OSError: such as no space; what was begun is removed.
    """
    _refuse(context, target, dump)
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise Conflict(f"{partial} is of a backup that did not end: delete it first") from None
    try:
        manifest = _fill(context, partial, tell, dump, link)
        if target.exists():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def dump_command(url: URL, file: Path) -> str:
    """The command line that dumps a PostgreSQL database; the password is asked for by itself."""
    plain = url.set(drivername="postgresql", password=None, query={})
    return shlex.join(
        ["pg_dump", "--format=custom", f"--file={file}", plain.render_as_string(False)]
    )


def _refuse(context: Context, target: Path, dump: Path | None) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is there and not empty: name a folder that is not there yet")
    if any(target.resolve().is_relative_to(folder) for folder in context.project.folders()):
        raise InvalidRequest(f"{target} lies among the data of the project: name another folder")
    if dump is not None and not dump.is_file():
        raise InvalidRequest(f"there is no dump {dump}: make it first, with pg_dump")
    if dump is not None and sqlite_file(context.engine):
        raise InvalidRequest("--dump is for PostgreSQL: SQLite is copied by this command itself")


def _fill(
    context: Context, root: Path, tell: Tell, dump: Path | None, link: bool
) -> dict[str, Any]:
    project = context.project
    (root / "state").mkdir(mode=0o700)
    with _index_as_now(context, root, tell, dump) as index:
        _copy_tree(index, root / "index", "index", tell, link=False)
    store = store_of(context)
    for name in FOLDERS:
        if name == "segments":  # they are made again
            continue
        if store.root is None:
            _download(store, root, name, tell)
        else:
            _copy_tree(store.root / name, root / name, name, tell, link=link)
    if store.is_apart(project.root):
        _download(store, root, "runs", tell)
    for folder in (project.runs, project.reports):  # these change where they lie
        _copy_tree(folder, root / folder.name, folder.name, tell, link=False)
    for name in (PROJECT_FILE, f"state/{TOKEN_FILE}"):
        if (project.root / name).is_file():
            shutil.copy2(project.root / name, root / name)
    kind = "sqlite" if sqlite_file(context.engine) else "postgresql"
    manifest = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "database": {"kind": kind, "file": _database_of(root)},
        "files": described(root, tell),
    }
    write_json(root / MANIFEST, manifest)
    return manifest


def _download(store: ProjectStore, root: Path, name: str, tell: Tell) -> None:
    """Copy what lies in a bucket; it is compared with its names when the backup is verified."""
    entries = list(store.walk(name))
    (root / name).mkdir(parents=True, exist_ok=True)
    tell(name, 0, len(entries))
    for number, entry in enumerate(entries, 1):
        path = root / entry.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            store.objects.fetch(entry.key, path)
        tell(name, number, len(entries))


def _download_index(store: ProjectStore, folder: Path) -> None:
    """Copy indexes that no host has a copy of.

    Descriptions of versions first: what they name is never changed, and goes a day later.
    """

    def of_index() -> list[str]:
        keys = [entry.key for entry in store.walk(INDEX)]
        return [key for key in keys if is_file_anywhere(key)]

    described = [key for key in of_index() if "/_versions/" in key or key.count("/") == 2]
    for key in described:
        _fetch(store, key, folder)
    for key in of_index():
        if "/_versions/" not in key and key not in described:
            _fetch(store, key, folder)


def _fetch(store: ProjectStore, key: str, folder: Path) -> None:
    path = folder / key.removeprefix(f"{INDEX}/")
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        store.objects.fetch(key, path)


def _database_of(root: Path) -> str | None:
    return next((name for name in (DATABASE, DUMP) if (root / name).is_file()), None)


@contextlib.contextmanager
def _index_as_now(context: Context, root: Path, tell: Tell, dump: Path | None) -> Iterator[Path]:
    """Copy the database, and yield a folder with the files of the index as they were then.

    What is linked is not deleted with its name, and the bytes that were there then stay.
    """
    index = context.project.index
    held = temporary_beside(index / "any")
    try:
        if store_of(context).is_apart(context.project.root):
            # Rows first: an image that is indexed later does no harm, one that lacks would.
            tell("database", 0, 1)
            _copy_database(context, root, dump)
            tell("database", 1, 1)
            for encoder in encoders_in(context):
                follow(context, encoder)
            _download_index(store_of(context), held)
        with contextlib.ExitStack() as still:
            for folder in sorted(index.glob("[!.]*/")):
                still.enter_context(held_still(folder, INDEX_WAIT_S))
            if not store_of(context).is_apart(context.project.root):
                tell("database", 0, 1)
                _copy_database(context, root, dump)
                tell("database", 1, 1)
            _copy_tree(index, held, "index", lambda *_: None, link=True)
        yield held
    finally:
        shutil.rmtree(held, ignore_errors=True)


def _copy_database(context: Context, root: Path, dump: Path | None) -> None:
    source = sqlite_file(context.engine)
    if source is None:
        if dump is not None:
            shutil.copy2(dump, root / DUMP)
        return
    connection = sqlite3.connect(source, timeout=60.0)
    try:
        # One consistent state, without the write-ahead log; a copy of a live file would not be.
        connection.execute("VACUUM INTO ?", (str(root / DATABASE),))
    finally:
        connection.close()
    (root / DATABASE).chmod(0o600)


def _copy_tree(source: Path, target: Path, what: str, tell: Tell, *, link: bool) -> None:
    """Copy or link what is in a folder; what vanishes meanwhile was needed by nobody."""
    target.mkdir(parents=True, exist_ok=True)
    found = [
        Path(parent, name)
        for parent, folders, names in os.walk(source)
        for name in names
        if not name.startswith(".") and _enter(folders)
    ]
    tell(what, 0, len(found))
    for number, path in enumerate(found, 1):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            _copy(path, copy, link)
        tell(what, number, len(found))


def _enter(folders: list[str]) -> bool:
    """Have ``os.walk`` skip hidden folders: half files lie in them."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return True


def _copy(path: Path, copy: Path, link: bool) -> None:
    if link:
        try:
            copy.hardlink_to(path)
            return
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or one without links
            pass
    shutil.copy2(path, copy)
