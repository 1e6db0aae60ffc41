"""The copy of an index on this host, and the depot that it follows.

Searching reads the copy alone, mapped as ever. A write appends to the copy's files, sends what is
new, swaps the manifest, and only then lets the copy's own version file count it: refused, the copy
is as it was. Taking up what others wrote appends the same bytes to the same files.
"""

from __future__ import annotations

import logging
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from curation.index.depot import (
    LARGEST,
    MANIFEST,
    Depot,
    Manifest,
    Piece,
    age_s,
    beginning,
    files_of,
    manifest_of,
    stamp,
    swapped,
    taken_in,
)
from curation.index.state import STATE, State, read_state, write_state
from curation.index.version import Version, read_version, write_version
from curation.kernel.errors import ShardCorrupt
from curation.kernel.files import write_atomically

logger = logging.getLogger(__name__)

PART = 8 * 2**20
"""Bytes that are asked for at a time."""
ORPHAN_S = 86_400.0
"""Older objects that no manifest names were sent by a writer who has ended."""


class Files(Protocol):
    """Where the files of records lie on this host."""

    folder: Path

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of a record, by name of the file."""
        ...

    def path(self, name: str, generation: int, tail: int = 0) -> Path:
        """One of them in a generation."""
        ...


class Replica:
    """See the module. All but :meth:`behind` inside the writer's lock of the folder.

    Args:
        files: of this host.
        depot: of all hosts.
    """

    def __init__(self, files: Files, depot: Depot) -> None:
        self._files = files
        self._depot = depot

    def behind(self) -> bool:
        """Whether the depot holds another state than this host, or none where this has one."""
        state, tag = read_state(self._files.folder), self._depot.tag(MANIFEST)
        return tag != (None if state is None else state.tag) or (tag is None and self._has_own())

    def follow(self, empty: Version) -> bool:
        """Take up what the depot holds; where it holds nothing, put there what this host has.

        Args:
            empty: the version of an index without anything.

        Returns:
            Whether there are files now that the version does not name any more.

        Raises:
            ShardCorrupt: what the depot holds is damaged, or a part of it is lost.
        """
        mine = read_version(self._files.folder)
        if self._pull():
            now = read_version(self._files.folder)
            return mine is not None and now is not None and mine.files != now.files
        if mine is not None and mine.revision > empty.revision:
            logger.warning(
                "%s holds no index: what this host has of it is put there", self._depot.name
            )
            self.publish(mine, None)
        return False

    def publish(self, mine: Version, over: str | None) -> None:
        """Put into the depot what this host has.

        Args:
            mine: the version of this host.
            over: tag of the manifest that is replaced; None: there is none.

        Raises:
            IndexMoved: there is another manifest.
        """
        (self._files.folder / STATE).unlink(missing_ok=True)
        self.switch(mine, self._renumbered(mine), over)

    def _renumbered(self, mine: Version) -> Version:
        """The same records as a generation of their own: another host may know other last ones."""
        number = max(beginning(), mine.revision + 1)
        version = replace(mine, revision=number, generation=number)
        for name in self._files.sizes:
            path, again = (self._files.path(name, *one.files) for one in (mine, version))
            if path.is_file() and not again.exists():
                os.link(path, again)
        return version

    def switch(self, old: Version, new: Version, over: str | None = None) -> None:
        """Make a version the one that counts, for all hosts and then for this one.

        Args:
            old: the one that this host has taken up last.
            new: whose files lie here, on the disk.
            over: see :meth:`publish`.

        Raises:
            IndexMoved: another host has written meanwhile; nothing counts, here or there.
        """
        state, sent = read_state(self._files.folder), list[str]()
        known = {} if state is None else state.pieces
        pieces = {}
        for name, size in self._files.sizes.items():
            path = self._files.path(name, *new.files)
            same = path == self._files.path(name, *old.files)
            before = known.get(name, ()) if same else ()
            pieces[name] = self._send(path, before, new.counts.get(name, 0) * size, sent)
        there = set() if state is None else {name for name, _ in files_of(old)}
        for name, _ in files_of(new):
            if name not in there:
                self._depot.put(name, self._files.folder / name)
                sent.append(name)
        lineage = secrets.token_hex(8) if state is None else state.lineage
        manifest = Manifest(lineage, secrets.token_hex(8), new, pieces)
        tag = swapped(self._depot, manifest, over if state is None else state.tag, sent)
        write_version(self._files.folder, new)
        write_state(self._files.folder, State(tag, lineage, pieces))
        if state is not None:  # whoever would name one of these again is refused by now
            for name in Manifest(lineage, "", old, known).named() - manifest.named():
                self._depot.delete(name)

    def verify(self, version: Version) -> None:
        """Read all that the depot holds of a version, and compare checksums.

        Args:
            version: of this host; what others have written since is not looked at.

        Raises:
            ShardCorrupt: an object is not what was written, or is gone.
        """
        state = read_state(self._files.folder)
        if state is None:
            return
        try:
            for name, size in self._files.sizes.items():
                end = version.counts.get(name, 0) * size
                found = _crc(self._bytes(state.pieces.get(name, ()), 0, end))
                wanted = version.checksums.get(name, 0)
                _require(found, wanted, f"{self._depot.name}, {name}")
            for name, checksum in files_of(version):
                found = _crc(self._parts(name))
                _require(
                    found, found if checksum is None else checksum, f"{self._depot.name}/{name}"
                )
        except (FileNotFoundError, ShardCorrupt) as error:
            if self._depot.tag(MANIFEST) != state.tag:
                return  # a writer has removed what its new state does not name
            if isinstance(error, ShardCorrupt):
                raise
            raise ShardCorrupt(f"{self._depot.name} lacks {error.filename}") from error

    def _parts(self, name: str) -> Iterator[bytes]:
        start = 0
        while data := self._depot.part(name, start, PART):
            yield data
            start += len(data)

    def sweep(self, version: Version) -> None:
        """Remove objects that no state names, left by writers who were killed long ago."""
        state = read_state(self._files.folder)
        if state is None:
            return
        named = Manifest(state.lineage, "", version, state.pieces).named() | {MANIFEST}
        for name in set(self._depot.names()) - named:
            if (age_s(name) or 0.0) > ORPHAN_S:
                self._depot.delete(name)

    def _pull(self) -> bool:
        """Whether the depot holds an index; it is here then."""
        while True:
            try:
                data, tag = self._depot.get(MANIFEST)
            except FileNotFoundError:
                return False
            manifest, state = manifest_of(data, self._depot.name), read_state(self._files.folder)
            mine = None
            if state is not None and state.lineage == manifest.lineage:
                mine = read_version(self._files.folder)
            try:
                self._bring(manifest, mine)
            except FileNotFoundError as error:
                # A writer removes what its new state does not name any more.
                if self._depot.tag(MANIFEST) == tag:
                    raise ShardCorrupt(f"{self._depot.name} lacks {error.filename}") from error
                continue
            write_version(self._files.folder, manifest.version)
            write_state(self._files.folder, State(tag, manifest.lineage, manifest.pieces))
            return True

    def _bring(self, manifest: Manifest, mine: Version | None) -> None:
        version = manifest.version
        for name, checksum in files_of(version):
            path = self._files.folder / name
            if not path.is_file():
                write_atomically(path, partial(self._fetch, name, checksum))
        for name, size in self._files.sizes.items():
            path = self._files.path(name, *version.files)
            end = version.counts.get(name, 0) * size
            start, checksum = 0, 0
            if mine is not None and path == self._files.path(name, *mine.files):
                start, checksum = mine.counts.get(name, 0) * size, mine.checksums.get(name, 0)
            if start > end or (start and (not path.is_file() or path.stat().st_size < start)):
                start, checksum = 0, 0
            wanted = version.checksums.get(name, 0)
            fill = partial(self._append, manifest.pieces.get(name, ()), start, end)
            if start == end and checksum == wanted:
                continue
            if start:
                found = fill(path, checksum)
                _require(found, wanted, f"{self._depot.name}, {name}")
            else:
                write_atomically(path, partial(self._whole, fill, name, wanted))

    def _whole(self, fill: partial[int], name: str, wanted: int, path: Path) -> None:
        _require(fill(path, 0), wanted, f"{self._depot.name}, {name}")

    def _append(
        self, pieces: tuple[Piece, ...], start: int, end: int, path: Path, checksum: int
    ) -> int:
        """Write bytes ``start`` to ``end`` of a file of records; CRC-32 of all of it."""
        with path.open("r+b") as file:
            file.truncate(start)  # what a writer who was refused left behind
            file.seek(start)
            for data in self._bytes(pieces, start, end):
                file.write(data)
                checksum = zlib.crc32(data, checksum)
            file.flush()
            os.fsync(file.fileno())
        return checksum

    def _bytes(self, pieces: tuple[Piece, ...], start: int, end: int) -> Iterator[bytes]:
        first = 0
        for piece in pieces:
            last = first + piece.size
            for place in range(max(first, start), min(last, end), PART):
                length = min(PART, last - place, end - place)
                yield self._depot.part(piece.name, place - first, length)
            first = last

    def _fetch(self, name: str, checksum: int | None, path: Path) -> None:
        self._depot.fetch(name, path)
        if checksum is not None:
            with path.open("rb") as file:
                found = _crc(iter(partial(file.read, PART), b""))
            _require(found, checksum, f"{self._depot.name}, {name}")

    def _send(
        self, path: Path, before: tuple[Piece, ...], end: int, sent: list[str]
    ) -> tuple[Piece, ...]:
        """The pieces of a file of records, after those that are new were sent."""
        start = sum(piece.size for piece in before)
        if start == end:
            return before
        kept = before[: len(before) - taken_in(before, end - start)]
        start, new = sum(piece.size for piece in kept), list[Piece]()
        stem = path.stem.partition("-")[0]
        with path.open("rb") as file:
            file.seek(start)
            while start < end:
                data = file.read(min(LARGEST, end - start))
                new.append(Piece(f"{stem}{stamp()}.part", len(data)))
                self._depot.put(new[-1].name, data)
                sent.append(new[-1].name)
                start += len(data)
        return (*kept, *new)

    def _has_own(self) -> bool:
        mine = read_version(self._files.folder)
        return mine is not None and mine.revision > 0


def _crc(blocks: Iterator[bytes]) -> int:
    found = 0
    for data in blocks:
        found = zlib.crc32(data, found)
    return found


def _require(found: int, wanted: int, where: str) -> None:
    if found != wanted:
        raise ShardCorrupt(f"{where} differs from what was written")
