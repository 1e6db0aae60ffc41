"""Whether a backup is whole: every file holds what it held, and every row has its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, select, text

from curation.kernel.errors import CurationError
from services.config.project import Project
from services.config.setting_groups import StorageSettings
from services.config.settings import Settings
from services.context import Context, sessions_of
from services.db.engine import reading
from services.db.tables import Model
from services.errors import InvalidRequest
from services.upkeep.invariants import files, index
from services.upkeep.invariants.finding import Finding

MANIFEST = "backup.json"
FORMAT = 1
Tell = Callable[[str, int, int], None]


def described(root: Path, tell: Tell) -> dict[str, dict[str, Any]]:
    """Every file below a folder: ``{path: {"bytes": …, "sha256": …}}``."""
    found = sorted(path for path in root.rglob("*") if path.is_file())
    said = {}
    tell("hashes", 0, len(found))
    for number, path in enumerate(found, 1):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = str(path.relative_to(root))
        said[name] = {"bytes": path.stat().st_size, "sha256": digest}
        tell("hashes", number, len(found))
    return said


def verify(root: Path, tell: Tell) -> list[str]:
    """What is wrong with a backup; nothing in it is changed.

    Raises:
        InvalidRequest: the folder holds no backup, or one of another version.
    """
    manifest = read(root)
    said: dict[str, dict[str, Any]] = manifest["files"]
    there = described(root, tell)
    wrong = [f"{name} is missing" for name in said if name not in there]
    wrong += [
        f"{name} is not what it was" for name in said if there.get(name, said[name]) != said[name]
    ]
    database = manifest["database"]["file"]
    if database is None:
        wrong.append("the database is not in it: it was made without --dump")
    elif manifest["database"]["kind"] == "sqlite" and database in there:
        wrong += [str(finding) for finding in _of_rows(root, database)]
    return wrong


def read(root: Path) -> dict[str, Any]:
    """What ``backup.json`` says.

    Raises:
        InvalidRequest: the folder holds no backup, or one of another version.
    """
    try:
        manifest: dict[str, Any] = json.loads((root / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise InvalidRequest(f"{root} is no backup: it has no {MANIFEST}") from None
    except ValueError as error:
        raise InvalidRequest(f"{root / MANIFEST} is damaged: {error}") from error
    if manifest.get("format") != FORMAT:
        raise InvalidRequest(f"{root} was made by another version of e2x")
    return manifest


def _of_rows(root: Path, database: str) -> Iterator[Finding]:
    """The database's own check, and the files that its rows name."""
    # Immutable: SQLite neither writes to it nor makes files beside it.
    engine = create_engine(f"sqlite:///file:{root / database}?immutable=1&uri=true")
    # What is looked at is the backup, and not the bucket that its settings may name.
    settings = Settings(project=root, storage=StorageSettings(url=""))
    context = Context(settings, Project(root), engine, sessions_of(settings, engine))
    advice = "make another backup"
    try:
        with reading(context.sessions) as session:
            said = session.scalar(text("PRAGMA integrity_check"))
            folders = list(session.scalars(select(Model.folder)))
        if said != "ok":
            yield Finding("database", "fail", str(said), advice)
            return
        yield from files.images(context, 0, _nobody)  # their content has been compared
        yield from files.explanations(context, 0, _nobody)
        yield from files.datasets(context, _nobody)
        for folder in folders:
            if not (root / folder).is_dir():
                yield Finding("models", "fail", f"{folder} is missing", advice)
        for row in index.embeddings(context):
            if not (context.project.embeddings / row.file).is_file():
                yield Finding("index", "fail", f"embeddings/{row.file} is missing", advice)
    except CurationError as error:
        yield Finding("files", "fail", str(error), advice)
    finally:
        engine.dispose()


def _nobody(_what: str, _done: int, _all: int) -> None:
    """Progress of what takes no time is told to nobody."""
