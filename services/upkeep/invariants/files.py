"""Files that rows name: there, whole, and what their name says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select

from curation.kernel.errors import CurationError
from curation.kernel.images import content_hash
from curation.kernel.manifest import Manifest
from services.context import Context
from services.db.engine import reading
from services.db.tables import (
    AskedExplanation,
    DatasetVersion,
    Explanation,
    Image,
    Model,
    ModeSighting,
)
from services.errors import NotAllowed
from services.store import model_folders
from services.store.project_store import store_of
from services.store.storage import read_arrays
from services.upkeep.invariants.finding import Finding, OnProgress, told

_Row = TypeVar("_Row")

IMAGE_AGAIN = "`e2x import` or `e2x ingest` the same picture again, or restore it from a backup"
IMAGE_DAMAGED = "delete the file, then `e2x import` or `e2x ingest` the same picture again"
MANIFEST = "restore manifests/ from a backup"
MODEL = "restore the folder from a backup; `e2x models rollback` where it is the champion's"
EXPLAIN_AGAIN = "`e2x doctor --deep --mend` has it made again"


def images(context: Context, sample: int | None, tell: OnProgress) -> Iterator[Finding]:
    """Every image row has its file, and the file has the image's hash."""
    with reading(context.sessions) as session:
        rows = session.execute(select(Image.id, Image.file).order_by(Image.id)).all()
    there: list[tuple[str, str]] = []
    stored = _Stored(context, "images")
    for identity, file in rows:
        key = stored.key(file)
        if key is None and store_of(context).exists(f"images/{file}"):
            key = f"images/{file}"  # it stays in its owner's bucket
        if key is None:
            yield Finding("images", "fail", f"image {identity[:12]} has no file", IMAGE_AGAIN)
        else:
            there.append((identity, key))
    for identity, key in told("images", spread(there, sample), tell):
        try:
            said = content_hash(store_of(context).original(key))
        except OSError as error:
            said = str(error)
        if said != identity:
            name = key.rpartition("/")[2]
            yield Finding(
                "images", "fail", f"{name} does not hold what it is named by", IMAGE_DAMAGED
            )


def datasets(context: Context, tell: OnProgress) -> Iterator[Finding]:
    """Every dataset version has its manifest, which is named by its hash."""
    with reading(context.sessions) as session:
        rows = session.scalars(select(DatasetVersion).order_by(DatasetVersion.created_at)).all()
    store = store_of(context)
    for row in told("datasets", rows, tell):
        inside = _inside(context, context.project.manifests, row.file)
        try:
            data = None if inside is None else store.get(f"manifests/{row.file}")
            manifest = None if data is None else Manifest.of_bytes(data, row.file)
        except (CurationError, OSError) as error:
            yield Finding("datasets", "fail", f"version {row.id[:12]}: {error}", MANIFEST)
            continue
        if manifest is None or manifest.version != row.id:
            yield Finding(
                "datasets", "fail", f"version {row.id[:12]} is not what {row.file} holds", MANIFEST
            )


def models(context: Context, tell: OnProgress) -> Iterator[Finding]:
    """Every model's folder holds the weights that the model is named by."""
    with reading(context.sessions) as session:
        rows = session.scalars(select(Model).order_by(Model.number)).all()
    if not rows:
        return
    from retrain import checkpoint  # loads PyTorch
    from retrain.errors import RetrainError

    for row in told("models", rows, tell):
        try:
            with model_folders.local(context, row.folder) as folder:
                config, tensors = checkpoint.load(folder)
            version = checkpoint.version_of(tensors, config)
        except (RetrainError, NotAllowed, OSError) as error:
            yield Finding("models", "fail", f"model {row.number}: {error}", MODEL)
            continue
        if version != row.id:
            yield Finding(
                "models", "fail", f"model {row.number}: {row.folder} holds another model", MODEL
            )


def explanations(context: Context, sample: int | None, tell: OnProgress) -> Iterator[Finding]:
    """Every explanation has its file."""
    with reading(context.sessions) as session:
        rows = session.execute(select(Explanation.id, Explanation.file)).all()
        answered = AskedExplanation.file.is_not(None)
        asked = session.execute(
            select(AskedExplanation.id, AskedExplanation.file).where(answered)
        ).all()
    there = []
    stored = _Stored(context, "explanations")
    for identity, file in (*rows, *asked):
        key = stored.key(str(file))
        if key is None:
            found = f"explanation {identity[:12]} has no file"
            yield Finding("files", "fail", found, EXPLAIN_AGAIN)
        else:
            there.append(key)
    for key in told("explanations", spread(there, sample), tell):
        try:
            read_arrays(context, key)
        except (CurationError, OSError) as error:
            name = key.rpartition("/")[2]
            yield Finding("files", "fail", f"explanation {name}: {error}", EXPLAIN_AGAIN)


def traces(context: Context) -> Iterator[Finding]:
    """Every sighting of a mode has its pooled regions."""
    with reading(context.sessions) as session:
        names = session.scalars(select(ModeSighting.file).where(ModeSighting.file.is_not(None)))
        files = list(names)
    stored = _Stored(context, "modes")
    for file in files:
        if stored.key(str(file)) is None:
            yield Finding(
                "files",
                "warn",
                f"modes/{file} is missing: the mode is known by its places alone",
                "restore modes/ from a backup; the next cycle that sees the mode writes another",
            )


class _Stored:
    """What a folder of the store holds; of a bucket it is listed once, not asked one by one."""

    def __init__(self, context: Context, folder: str) -> None:
        self._context, self._folder = context, folder
        store = store_of(context)
        self._root = store.root
        self._keys = set() if self._root is not None else {e.key for e in store.walk(folder)}

    def key(self, file: str) -> str | None:
        """The key of what a row names, None where it leaves the folder or is not there."""
        key = f"{self._folder}/{file}"
        if _inside(self._context, self._context.project.root / self._folder, file) is None:
            return None
        there = key in self._keys if self._root is None else (self._root / key).is_file()
        return key if there else None


def spread(items: Sequence[_Row], sample: int | None) -> Sequence[_Row]:
    """At most so many of the items, evenly spread; None: all."""
    if sample is None or len(items) <= sample:
        return items
    return [items[number * len(items) // sample] for number in range(sample)]


def _inside(context: Context, base: Path, relative: str) -> Path | None:
    """The path that a row names, None where it leaves the folder."""
    try:
        return context.project.inside(base, relative)
    except NotAllowed:
        return None
