"""Files of region vectors: the source of truth under every shard.

Four files of fixed-size records are only ever appended to, and one small version file says how
much of each counts. A write appends, syncs, then replaces the version file: a crash at any point
leaves the last whole version, and the next writer cuts what lies beyond it.

==============  =========================================================================
vectors.f16     fp16 [W] of each region that is in no coded segment yet
coded-*.seg     those before them, coded (:mod:`curation.index.coded`); never changed
regions.bin     for each region: entry, number within its image, box
entries.bin     for each addition of an image: its id, first region, number of regions
dead.bin        entries that were deleted or replaced (tombstones)
VERSION.json    what counts: lengths, checksums, encoder version, segments, shards; switched last
==============  =========================================================================

A compaction writes the four anew without what is dead, under the number of a new generation
(``vectors-00000042.f16``), and switches to them in the same way. A seal moves vectors from the
half floats into coded segments, and the rest into a file of a new number: rows keep theirs.

Of an index in a depot these files are this host's copy (:mod:`curation.index.replica`).
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.index.coded import SegmentRef, verify_segment
from curation.index.depot import MANIFEST, Depot, stamp
from curation.index.locks import locked
from curation.index.records import DEAD, ENTRY, REGION, Block, append_bytes
from curation.index.replica import Replica
from curation.index.rows import Rows
from curation.index.version import Version, read_version, write_version
from curation.kernel.errors import EncoderMismatch, IndexBusy, ShardCorrupt
from curation.kernel.files import write_bytes

READ_BYTES = 64 * 2**20
"""Bytes that a check of all files holds at a time."""


class VectorStore:
    """The files of one folder.

    Args:
        folder: made if it is absent.
        encoder: version of the vectors' encoder.
        width: W of a vector.
        lock_timeout_s: how long a write waits for another process's write.
        depot: where the index lies for all hosts; None where it lies in the folder alone.

    Raises:
        EncoderMismatch: the folder holds vectors of another encoder or width.
        ShardCorrupt: a file is shorter than its description says.
    """

    def __init__(
        self,
        folder: Path,
        encoder: str,
        width: int,
        lock_timeout_s: float = 10.0,
        depot: Depot | None = None,
    ) -> None:
        self.folder = folder
        self.replica = None if depot is None else Replica(self, depot)
        self._empty = Version(encoder, width)
        self._writes = False
        self._lock_timeout_s = lock_timeout_s
        self._records = {
            "vectors.f16": np.dtype((np.dtype("<f2"), (width,))),
            "regions.bin": REGION,
            "entries.bin": ENTRY,
            "dead.bin": DEAD,
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._follow()
        self.version = self._read() or self._empty
        if self.version.encoder != encoder or self.version.width != width:
            raise EncoderMismatch(
                f"{folder} holds {self.version.width}-wide vectors of encoder "
                f"{self.version.encoder[:12]}, asked for {width}-wide of {encoder[:12]}; "
                "embed the pool again into a new folder"
            )

    def refresh(self) -> bool:
        """Take up what other processes wrote; True if there was anything.

        Raises:
            IndexBusy: of an index in a depot: another process of this host is writing.
            ShardCorrupt: what the depot holds is damaged.
        """
        self._follow()
        found = self._read()
        if found is None or found == self.version:
            return False
        if (found.encoder, found.width) != (self.version.encoder, self.version.width):
            raise EncoderMismatch(f"{self.folder} was rebuilt for encoder {found.encoder[:12]}")
        self.version = found
        return True

    def _read(self) -> Version | None:
        found = read_version(self.folder)
        if found is None or found.width:
            return found
        return replace(found, width=self._empty.width)  # begun anew, and nothing has come yet

    @property
    def is_shared(self) -> bool:
        """Whether other hosts write too."""
        return self.replica is not None

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of a record, by name of the file."""
        return {name: dtype.itemsize for name, dtype in self._records.items()}

    def unique(self) -> str:
        """What makes a name one of its own among those of all hosts."""
        return stamp() if self.is_shared else ""

    def publish(self, depot: Depot) -> None:
        """Put an index of this folder into a depot, in the place of whatever lies there.

        Raises:
            IndexMoved: a host writes to the depot.
            IndexBusy: a process writes to the folder.
        """
        with self.writing():
            Replica(self, depot).publish(self.version, depot.tag(MANIFEST))

    def path(self, name: str, generation: int, tail: int = 0) -> Path:
        """Where one of the four files lies in a generation."""
        stem, suffix = name.split(".")
        if tail and name == "vectors.f16":
            return self.folder / f"{stem}-{generation:08d}-{tail:08d}.{suffix}"
        return self.folder / (f"{stem}-{generation:08d}.{suffix}" if generation else name)

    def segment_path(self, generation: int, start: int) -> Path:
        """Where the coded segment from a row on lies in a generation."""
        return self.folder / f"coded-{generation:08d}-{start:012d}{self.unique()}.seg"

    def vectors(self, version: Version, known: Rows | None = None) -> Rows:
        """The vectors of all rows of a version; ``known`` are of an older one, mapped already.

        Raises:
            ShardCorrupt: the file of half floats is absent or too short.
        """
        tail = self.records("vectors.f16", version=version)
        return Rows(self.folder, version.segments, tail, known)

    def records(
        self, name: str, start: int = 0, version: Version | None = None
    ) -> npt.NDArray[Any]:
        """Memory-mapped records of one file that count, from ``start`` on.

        Args:
            name: one of the four.
            start: first record.
            version: whose records; None is the current one.

        Raises:
            ShardCorrupt: the file is absent or too short.
        """
        version = version or self.version
        dtype, end = self._records[name], version.counts.get(name, 0)
        if end <= start:
            return np.zeros((0, *dtype.shape), dtype.base)
        path = self.path(name, *version.files)
        try:
            if path.stat().st_size < end * dtype.itemsize:
                raise ShardCorrupt(f"{path} is shorter than the {end} records of its version file")
            return np.memmap(
                path, dtype.base, "r", start * dtype.itemsize, (end - start, *dtype.shape)
            )
        except FileNotFoundError as error:
            raise ShardCorrupt(f"{path} is missing") from error

    def verify(self, version: Version | None = None) -> None:
        """Read everything, in the depot too, a part at a time, and compare checksums.

        Args:
            version: whose records; None is the current one.

        Raises:
            ShardCorrupt: a file does not hold what was written, or is gone.
        """
        version = version or self.version
        if self.replica is not None:
            self.replica.verify(version)
        for segment in version.segments:
            verify_segment(self.folder, segment)
        for name, dtype in self._records.items():
            found, step = 0, max(1, READ_BYTES // dtype.itemsize)
            for start in range(0, version.counts.get(name, 0), step):
                block = self.records(name, start, version)[:step]
                found = zlib.crc32(np.ascontiguousarray(block).tobytes(), found)
            if found != version.checksums.get(name, 0):
                path = self.path(name, *version.files)
                raise ShardCorrupt(f"{path} differs from what was written")

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Hold the writer's lock, with the newest version loaded; the lock dies with the process.

        Raises:
            IndexBusy: another process has been writing for longer than the timeout.
        """
        return self._holding("LOCK")

    def sealing(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of seals, taken before ``writing``; others still add and delete.

        Raises:
            IndexBusy: another process has been sealing for longer than the timeout.
        """
        return self._holding("SEAL")

    @contextlib.contextmanager
    def _holding(self, name: str) -> Iterator[None]:
        with self._locked(name):
            if name == "LOCK":
                self._take_up()
                self._writes = True  # nobody else of this host takes anything up until it is done
            try:
                self.refresh()
                yield
            finally:
                if name == "LOCK":
                    self._writes = False

    def _follow(self) -> None:
        if self.replica is not None and not self._writes and self.replica.behind():
            with self._locked("LOCK"):
                self._take_up()

    def _take_up(self) -> None:
        """Bring this host's copy up to the depot's state; inside the writer's lock."""
        if self.replica is not None and self.replica.behind() and self.replica.follow(self._empty):
            # A seal of this host writes files that no version names yet.
            with contextlib.suppress(IndexBusy), locked(self.folder, "SEAL", 0.0):
                self.sweep(read_version(self.folder))

    def _locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        return locked(self.folder, name, self._lock_timeout_s)

    def append(self, additions: Mapping[str, npt.NDArray[Any]], **changes: Any) -> None:
        """Append records and switch to the version that counts them; inside ``writing`` only.

        Args:
            additions: file name to records.
            changes: other fields of the new version.
        """
        counts, checksums = dict(self.version.counts), dict(self.version.checksums)
        for name, records in additions.items():
            dtype = self._records[name]
            data = np.ascontiguousarray(records, dtype.base).tobytes()
            path = self.path(name, *self.version.files)
            append_bytes(path, counts.get(name, 0) * dtype.itemsize, data)
            counts[name] = counts.get(name, 0) + len(data) // dtype.itemsize
            checksums[name] = zlib.crc32(data, checksums.get(name, 0))
        self.switch(
            replace(
                self.version,
                revision=self.version.revision + 1,
                counts=counts,
                checksums=checksums,
                **changes,
            )
        )

    def with_coded(self, segments: tuple[SegmentRef, ...]) -> Version:
        """The version with these segments, to which nobody has been switched yet.

        Inside ``writing`` only. Half floats that they do not stand for go into a file of their own.
        """
        version = self.version
        if not segments:
            return version
        rest = self.records("vectors.f16", segments[-1].end - version.coded_end, version)
        data = np.ascontiguousarray(rest).tobytes()
        tail = version.revision + 1
        write_bytes(self.path("vectors.f16", version.generation, tail), data)
        return replace(
            version,
            segments=version.segments + segments,
            tail=tail,
            counts={**version.counts, "vectors.f16": len(rest)},
            checksums={**version.checksums, "vectors.f16": zlib.crc32(data)},
        )

    def rewritten(self, blocks: Iterable[Block]) -> Version:
        """Write a new generation of the files, to which nobody has been switched yet.

        Inside ``writing`` only. The version that is returned has no shards.

        Args:
            blocks: in order; held one at a time. None that is coded follows one with half floats.
        """
        generation = self.version.revision + 1
        counts, checksums = dict.fromkeys(self._records, 0), dict.fromkeys(self._records, 0)
        segments: list[SegmentRef] = []
        with contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context(self.path(name, generation).open("wb"))
                for name in self._records
            }
            for block in blocks:
                if block.coded is not None:
                    start = segments[-1].end if segments else 0
                    segments.append(block.coded(self.segment_path(generation, start), start))
                for name, records in block.records.items():
                    data = np.ascontiguousarray(records, self._records[name].base).tobytes()
                    files[name].write(data)
                    counts[name] += len(data) // self._records[name].itemsize
                    checksums[name] = zlib.crc32(data, checksums[name])
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        return replace(
            self.version,
            counts=counts,
            checksums=checksums,
            shards=(),
            generation=generation,
            segments=tuple(segments),
            tail=0,
        )

    def sweep(self, version: Version | None = None) -> None:
        """Remove files that a version does not name, None: the current one.

        Inside ``writing`` and ``sealing`` only.

        Readers hold shards in memory and keep a removed file of vectors open.
        """
        version = version or self.version
        named = {self.path(name, *version.files).name for name in self._records}
        named |= {version.metric} | {ref.file for ref in version.shards}
        named |= {ref.metric for ref in version.shards} | {ref.file for ref in version.segments}
        for pattern in ("coded-*.seg", "shard-*.faiss", "metric-*.npz", "*.f16", "*.bin", ".*"):
            for path in self.folder.glob(pattern):
                if path.name not in named:
                    path.unlink()

    def switch(self, version: Version) -> None:
        """Make a version the one that counts: temporary name, sync, rename, sync the folder.

        Raises:
            IndexMoved: another host has written meanwhile; nothing has changed.
        """
        if self.replica is None:
            write_version(self.folder, version)
        else:
            self.replica.switch(self.version, version)
        self.version = version
