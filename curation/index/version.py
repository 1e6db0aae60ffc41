"""The version file of an index: what counts of its files; it is switched last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curation.index.coded import SegmentRef
from curation.kernel.errors import ShardCorrupt
from curation.kernel.files import write_bytes

VERSION_FILE = "VERSION.json"
FORMAT = 3
READABLE = (1, 2, FORMAT)
"""The first format had half floats alone, which is a version without segments: it is read as it is
and coded with the next seal. The second had segments of the layout before, which stay as they
are."""


@dataclass(frozen=True, slots=True)
class ShardRef:
    """A sealed shard.

    Attributes:
        file: its name, "" where no region of its rows is alive.
        metric: file of the metric that it was built under.
        count: regions in it.
        end: first row after the rows that it stands for.
        checksum: CRC-32 of the file.
        probes: lists that a search looks into.
        recall: recall@10 measured with so many when it was built, in 0..1.
    """

    file: str
    metric: str
    count: int
    end: int
    checksum: int
    probes: int = 8
    recall: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """One whole state of the store.

    Attributes:
        revision: grows with every write.
        encoder: hash of the encoder and its pooling.
        width: W; 0 of an index that was begun anew, until something comes.
        counts: records that count, of each file.
        checksums: CRC-32 of those records.
        metric: file of the metric that similarities are computed under, "" for none.
        metric_fitted: live regions when it was fitted.
        shards: sealed shards; regions beyond the last one's end are the delta.
        generation: of the files; grows with a compaction, 0 for names without a number.
        segments: coded; ``vectors.f16`` holds the rows after the last one's end.
        tail: number of the file of half floats within the generation, 0 for none.
    """

    encoder: str
    width: int
    revision: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    checksums: Mapping[str, int] = field(default_factory=dict)
    metric: str = ""
    metric_fitted: int = 0
    shards: tuple[ShardRef, ...] = ()
    generation: int = 0
    segments: tuple[SegmentRef, ...] = ()
    tail: int = 0

    def continues(self, before: Version) -> bool:
        """Whether since another version there have been additions and deletions alone."""
        return (self.files, self.segments, self.shards) == (
            before.files,
            before.segments,
            before.shards,
        )

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {"format": FORMAT, **asdict(self)}

    @property
    def coded_end(self) -> int:
        """First region that lies as half floats."""
        return self.segments[-1].end if self.segments else 0

    @property
    def files(self) -> tuple[int, int]:
        """Grows when files that an older version names may be removed."""
        return self.generation, self.tail

    @property
    def sealed_end(self) -> int:
        """First region of the delta."""
        return max((shard.end for shard in self.shards), default=0)


def read_version(folder: Path) -> Version | None:
    """The version that counts; None in a new folder.

    Raises:
        ShardCorrupt: the file is damaged, or of a format that is not known.
    """
    path = folder / VERSION_FILE
    try:
        return version_of(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardCorrupt(f"{path} is not a version file: {error}") from error


def version_of(found: dict[str, Any]) -> Version:
    """The version that :meth:`Version.to_dict` has told of.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    if found.pop("format") not in READABLE:
        raise ValueError(f"its format is none of {READABLE}")
    found["segments"] = tuple(SegmentRef(**one) for one in found.get("segments", ()))
    found["shards"] = tuple(ShardRef(**shard) for shard in found["shards"])
    return Version(**found)


def write_version(folder: Path, version: Version) -> None:
    """Make a version the one that counts: temporary name, sync, rename, sync the folder."""
    write_bytes(folder / VERSION_FILE, json.dumps(version.to_dict(), sort_keys=True).encode())
