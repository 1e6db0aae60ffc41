"""What changed between two dataset versions."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from curation.kernel.manifest import Manifest, ManifestItem, diff
from services.context import Context
from services.db.engine import reading
from services.db.tables import DatasetVersion
from services.errors import InvalidRequest, NotFound
from services.models.datasets import MANIFESTS
from services.store.project_store import store_of

KEPT = 8
"""Comparisons that a process remembers: a version never changes."""
LOST = "the manifest of a version is missing: restore manifests/ from a backup"
MOST_NAMED = 5000
"""Images that are named of each list; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What came, went, or has other labels.

    Attributes:
        version: the later.
        against: the earlier; None: nothing, so that everything came.
        added: images, the first of them.
        removed: the same.
        relabelled: the same.
        counts: how many there are of each.
        boxes: by class, before and after.
    """

    version: str
    against: str | None
    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[str, ...]
    counts: tuple[int, int, int]
    boxes: tuple[tuple[str, int, int], ...]

    def to_dict(self, most: int) -> dict[str, Any]:
        """For JSON, with so many images of each list."""
        lists = ("added", "removed", "relabelled")
        named = {name: list(getattr(self, name)[:most]) for name in lists}
        return {
            "version": self.version,
            "against": self.against,
            **named,
            "counts": dict(zip(lists, self.counts, strict=True)),
            "boxes": [
                {"label": label, "before": before, "after": after}
                for label, before, after in self.boxes
            ],
        }


def between(context: Context, version: str, against: str | None) -> Difference:
    """A version beside another, or beside its parent.

    Raises:
        NotFound: there is no such version, or its manifest is lost.
        InvalidRequest: both are the same.
        ManifestMismatch: a manifest is damaged.
    """
    with reading(context.sessions) as session:
        rows = {
            row.id: row
            for row in session.scalars(
                select(DatasetVersion).where(DatasetVersion.id.in_([version, against or ""]))
            )
        }
        for name in filter(None, (version, against)):
            if name not in rows:
                raise NotFound(f"no dataset version {name}")
        other = against or rows[version].parent_id
        if other is not None and other not in rows:
            rows[other] = session.get_one(DatasetVersion, other)
    if other == version:
        raise InvalidRequest("against: another version than this one")
    with contextlib.ExitStack() as kept:
        paths = {name: _manifest(context, kept, rows[name]) for name in (version, other) if name}
        return _compared(paths[version], paths.get(other or ""), version, other)


def _manifest(context: Context, kept: contextlib.ExitStack, row: DatasetVersion) -> Path:
    try:
        return kept.enter_context(store_of(context).local(f"{MANIFESTS}/{row.file}"))
    except FileNotFoundError as error:
        raise NotFound(LOST) from error


@lru_cache(maxsize=KEPT)
def _compared(later: Path, earlier: Path | None, version: str, against: str | None) -> Difference:
    try:
        after = Manifest.read(later)
        before = Manifest(after.class_names, ()) if earlier is None else Manifest.read(earlier)
    except FileNotFoundError as error:
        raise NotFound(LOST) from error
    found = diff(before, after)
    counted = _counted(before.items), _counted(after.items)
    return Difference(
        version,
        against,
        found.added[:MOST_NAMED],
        found.removed[:MOST_NAMED],
        found.relabelled[:MOST_NAMED],
        (len(found.added), len(found.removed), len(found.relabelled)),
        tuple(
            (label, counted[0][label], counted[1][label])
            for label in sorted(counted[0].keys() | counted[1].keys())
        ),
    )


def _counted(items: tuple[ManifestItem, ...]) -> Counter[str]:
    return Counter(label for item in items for label in item.labels)
