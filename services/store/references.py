"""Pictures that stay in their owner's bucket: the project keeps where they are, and their hash.

A reference is a small object in the place of the picture. Whoever reads the picture gets the bytes
from there, through the cache of this machine, and only if they have the hash that names it: one
that was changed or is gone is told like a damaged or lost one of the project's own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from services.store.objects import ObjectLost, Objects

logger = logging.getLogger(__name__)

REFERENCES = "references"
Open = Callable[[str], Objects]
"""The store of an ``s3://bucket``."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a picture is.

    Attributes:
        bucket: its URL, ``s3://bucket``.
        key: of the object in it.
    """

    bucket: str
    key: str

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self)).encode()

    @property
    def url(self) -> str:
        """For people."""
        return f"{self.bucket}/{self.key}"


def reference_key(key: str) -> str:
    """Where the reference of ``images/3f/3f….jpg`` is kept: ``references/3f/3f….jpg``."""
    return f"{REFERENCES}/{key.partition('/')[2]}"


class References:
    """The references of a project.

    Args:
        objects: its store.
        open_bucket: opens others.
    """

    def __init__(self, objects: Objects, open_bucket: Open) -> None:
        self._objects, self._open = objects, open_bucket
        self._buckets: dict[str, Objects] = {}

    def of(self, key: str) -> Reference | None:
        """Where a picture is that the project does not hold itself, None where nobody knows."""
        if not key.startswith("images/"):
            return None
        try:
            found = json.loads(self._objects.get(reference_key(key))[0])
            return Reference(str(found["bucket"]), str(found["key"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("the reference of %s is damaged: %s", key, error)
            return None

    def fetch(self, reference: Reference, path: Path) -> None:
        """Copy the picture into a file.

        Raises:
            ObjectLost: it is gone.
            StoreUnavailable, StoreRefused: its bucket does not answer, or refuses.
        """
        try:
            self._bucket(reference).fetch(reference.key, path)
        except FileNotFoundError as error:
            raise ObjectLost(reference.key, reference.bucket) from error

    def get(self, reference: Reference) -> bytes:
        """The bytes of the picture. Errors as of :meth:`fetch`."""
        try:
            return self._bucket(reference).get(reference.key)[0]
        except FileNotFoundError as error:
            raise ObjectLost(reference.key, reference.bucket) from error

    def link(self, reference: Reference, seconds: int) -> str | None:
        """A signed URL of the picture, where browsers reach its bucket."""
        return self._bucket(reference).link(reference.key, seconds)

    def _bucket(self, reference: Reference) -> Objects:
        found = self._buckets.get(reference.bucket)
        if found is None:
            found = self._buckets[reference.bucket] = self._open(reference.bucket)
        return found
