"""A zip archive as a stream: no more of it is held than one piece."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Of every file: the same content gives the same archive."""
READABLE = 0o644 << 16


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        path: in it, with slashes.
        data: its bytes, read once.
        is_packed: whether they are packed already, as pictures are.
    """

    path: str
    data: Iterable[bytes]
    is_packed: bool = False


class _Sink:
    """What an archive is written to, and taken from piece by piece; it cannot be wound back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> bytes:
        found, self._parts = b"".join(self._parts), []
        return found


def zipped(members: Iterable[Member]) -> Iterator[bytes]:
    """The archive of these files, in their order; each is asked for its bytes when it is due."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for member in members:
            entry = zipfile.ZipInfo(member.path, EARLIEST)
            entry.external_attr = READABLE
            entry.compress_type = zipfile.ZIP_STORED if member.is_packed else zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as out:
                for piece in member.data:
                    out.write(piece)
                    if part := sink.taken():
                        yield part
            if part := sink.taken():
                yield part
    yield sink.taken()
