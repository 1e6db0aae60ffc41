"""Parts of an import: blocks of consecutive frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curation.formats import ImportedImage
from curation.formats.names import natural_key
from services.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Part:
    """Every n-th block of consecutive frames.

    Neighbouring frames of a drive look alike: a split frame by frame would leak the answers.

    Attributes:
        number: which part, 1..count.
        count: parts in all; their images are disjoint and together everything.
        block: consecutive frames, of a folder and by number, that stay together.
    """

    number: int
    count: int
    block: int = 25

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count or self.block < 1:
            raise InvalidRequest(
                f"part {self.number}/{self.count} in blocks of {self.block}: expected 1/N to N/N, "
                "and blocks of at least 1"
            )

    def of(self, items: Sequence[ImportedImage]) -> list[ImportedImage]:
        """The items of this part."""
        ordered = sorted(items, key=lambda item: natural_key(item.path))
        return [
            item
            for row, item in enumerate(ordered)
            if (row // self.block) % self.count == self.number - 1
        ]
