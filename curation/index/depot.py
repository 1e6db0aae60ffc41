"""Where an index lies for all hosts: what is asked of a store, and the manifest in it.

Files of an index as they are on a host would have to be shared by all. In a depot they are objects
that never change, and one small manifest that says which of them count. It is changed by
compare-and-swap alone: of two writers at once the second is refused, takes up what the first has
written, and writes again. So no addition is lost, and what was deleted stays deleted.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from curation.index.version import Version, version_of
from curation.kernel.errors import IndexMoved, ShardCorrupt

MANIFEST = "MANIFEST.json"
FORMAT = 1
LARGEST = 64 * 2**20
"""Bytes of a piece at most: so much is held in memory while it is sent."""
GROWTH = 2
"""A new piece takes in the last one while that is not so many times larger, so that there are a
logarithmic number of pieces, and each byte is sent a logarithmic number of times."""


class Depot(Protocol):
    """Objects by name. Errors of the store itself are passed on as they are."""

    @property
    def name(self) -> str:
        """Where it is, for people."""
        ...

    def get(self, name: str) -> tuple[bytes, str]:
        """An object and its tag.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def tag(self, name: str) -> str | None:
        """What changes whenever the object does; None where there is none."""
        ...

    def part(self, name: str, start: int, length: int) -> bytes:
        """Some bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def fetch(self, name: str, path: Path) -> None:
        """Copy an object into a file.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def put(self, name: str, data: bytes | Path) -> None:
        """Store an object, whole or not at all."""
        ...

    def swap(self, name: str, data: bytes, tag: str | None) -> str:
        """Replace an object that has this tag, or make one where there is none (None).

        Raises:
            IndexMoved: it has another.
        """
        ...

    def names(self) -> Iterable[str]:
        """All objects."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object; twice is once."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one file of records, as an object."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One whole state of an index in a depot.

    Attributes:
        lineage: of all states that follow from one beginning; another index has another.
        write: who wrote this state: a lost answer can be told from a lost race.
        version: what counts, as on any host.
        pieces: of each file of records, in order.
    """

    lineage: str
    write: str
    version: Version
    pieces: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)

    def named(self) -> set[str]:
        """Objects that it counts on."""
        return {piece.name for pieces in self.pieces.values() for piece in pieces} | {
            name for name, _ in files_of(self.version)
        }

    def to_bytes(self) -> bytes:
        """As it is stored."""
        pieces = {
            name: [[piece.name, piece.size] for piece in own] for name, own in self.pieces.items()
        }
        described = {
            "format": FORMAT,
            "lineage": self.lineage,
            "write": self.write,
            "version": self.version.to_dict(),
            "pieces": pieces,
        }
        return json.dumps(described, sort_keys=True).encode()


def manifest_of(data: bytes, where: str) -> Manifest:
    """A stored manifest.

    Raises:
        ShardCorrupt: it is damaged, or of a format that is not known.
    """
    try:
        found: dict[str, Any] = json.loads(data)
        if found["format"] != FORMAT:
            raise ShardCorrupt(f"{where}: its format is not {FORMAT}: update this host")
        pieces = {
            name: tuple(Piece(str(key), int(size)) for key, size in own)
            for name, own in found["pieces"].items()
        }
        version = version_of(found["version"])
        return Manifest(str(found["lineage"]), str(found["write"]), version, pieces)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardCorrupt(f"{where} is not a manifest of an index: {error}") from error


def files_of(version: Version) -> list[tuple[str, int | None]]:
    """Files that a version names whole, with their CRC-32 where it is known."""
    files: list[tuple[str, int | None]] = [(one.file, one.checksum) for one in version.segments]
    files += [(one.file, one.checksum) for one in version.shards if one.file]
    metrics = {version.metric} | {one.metric for one in version.shards}
    return files + [(name, None) for name in sorted(metrics - {""})]


def stamp() -> str:
    """The end of a name that nobody gives again; it says when it was given, in seconds."""
    return f"-{int(time.time()):08x}{secrets.token_hex(4)}"


def age_s(name: str) -> float | None:
    """How long ago a name with a stamp was given; None of another."""
    tail = name.partition(".")[0].rpartition("-")[2]
    if len(tail) != 16:
        return None
    try:
        return time.time() - int(tail[:8], 16)
    except ValueError:
        return None


def taken_in(pieces: Sequence[Piece], size: int) -> int:
    """How many of the last pieces a new one of this many bytes takes in."""
    count = 0
    for piece in reversed(pieces):
        if piece.size >= GROWTH * size or piece.size + size > LARGEST:
            break
        count, size = count + 1, size + piece.size
    return count


def beginning() -> int:
    """A number of a generation that no index had before."""
    return int(time.time())


def begin_anew(depot: Depot, encoder: str, width: int) -> None:
    """Have all hosts begin with an empty index, whatever is damaged in the one that there is.

    Raises:
        IndexMoved: a host has written meanwhile.
    """
    number = beginning()
    empty = Version(encoder, width, revision=number, generation=number)
    manifest = Manifest(secrets.token_hex(8), secrets.token_hex(8), empty)
    swapped(depot, manifest, depot.tag(MANIFEST), ())


def swapped(depot: Depot, manifest: Manifest, tag: str | None, sent: Sequence[str]) -> str:
    """Make a manifest the one that counts; its tag.

    Args:
        depot: where.
        manifest: the new one.
        tag: of the one that it follows; None: there is none.
        sent: objects that are of no use to anybody where it is refused.

    Raises:
        IndexMoved: another host has written meanwhile.
    """
    try:
        return depot.swap(MANIFEST, manifest.to_bytes(), tag)
    except IndexMoved:
        try:
            data, found = depot.get(MANIFEST)
        except FileNotFoundError:
            data, found = b"", ""
        if data and manifest_of(data, depot.name).write == manifest.write:
            return found  # ours: its answer was lost on the way
        for name in sent:
            depot.delete(name)
        raise
