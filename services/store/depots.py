"""Region indexes in the project's store: each a few immutable objects and one manifest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from curation.kernel.errors import IndexMoved
from services.store.objects import ObjectChanged, ObjectExists, Objects, walk
from services.store.objects.base import StoreRefused, StoreUnavailable

logger = logging.getLogger(__name__)

INDEX = "index"
"""Where indexes are: ``index/<first 16 digits of the encoder's version>/``."""


class StoreDepot:
    """See :class:`curation.index.depot.Depot`.

    Args:
        objects: the store.
        encoder: version of the vectors' encoder.
        suffix: of the folder's name, where it is not of the engine ``faiss``.
    """

    def __init__(self, objects: Objects, encoder: str, suffix: str = "") -> None:
        self._objects = objects
        self._folder = f"{INDEX}/{encoder[:16]}{suffix}"

    @property
    def name(self) -> str:
        """Its URL."""
        return f"{self._objects.name.rstrip('/')}/{self._folder}"

    def get(self, name: str) -> tuple[bytes, str]:
        """An object and its etag."""
        data, entry = self._objects.get(self._key(name))
        return data, entry.etag

    def tag(self, name: str) -> str | None:
        """Its etag."""
        entry = self._objects.head(self._key(name))
        return None if entry is None else entry.etag

    def part(self, name: str, start: int, length: int) -> bytes:
        """Some of its bytes."""
        return self._objects.get_range(self._key(name), start, length)

    def fetch(self, name: str, path: Path) -> None:
        """Copy it into a file."""
        self._objects.fetch(self._key(name), path)

    def put(self, name: str, data: bytes | Path) -> None:
        """Store it."""
        self._objects.put(self._key(name), data)

    def swap(self, name: str, data: bytes, tag: str | None) -> str:
        """Compare and swap, or create."""
        try:
            if tag is None:
                return self._objects.create(self._key(name), data)
            return self._objects.swap(self._key(name), data, tag)
        except (ObjectExists, ObjectChanged) as error:
            raise IndexMoved(str(error)) from error

    def names(self) -> Iterator[str]:
        """All of them."""
        for entry in walk(self._objects, self._folder):
            yield entry.key.removeprefix(f"{self._folder}/")

    def delete(self, name: str) -> None:
        """Delete it; what cannot be now is swept later, as what a killed writer leaves is."""
        try:
            self._objects.delete(self._key(name))
        except (StoreUnavailable, StoreRefused, OSError) as error:
            logger.warning("%s in %s is not deleted yet: %s", name, self.name, error)

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"
