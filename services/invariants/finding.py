"""One thing that is not as it must be, and how examinations tell of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

TOLD = 10
"""Findings of one kind that are told one by one; a store that is gone has as many as images."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken invariant.

    Attributes:
        what: was looked at, such as ``images``.
        state: ``fail``: something is lost or stuck; ``warn``: nothing is, but somebody should look.
        found: what is wrong, with the number or id that it is wrong with.
        advice: the command that mends it.
    """

    what: str
    state: Literal["warn", "fail"]
    found: str
    advice: str

    def __str__(self) -> str:
        """As one line."""
        return f"{self.what}: {self.found} ({self.advice})"


OnProgress: TypeAlias = "Callable[[str, int, int], None]"
"""Told what is looked at, how much of it is done, and how much there is."""

_Item = TypeVar("_Item")


def told(what: str, items: Sequence[_Item], on_progress: OnProgress) -> Iterator[_Item]:
    """The items, one by one, telling how far it is."""
    on_progress(what, 0, len(items))
    for number, item in enumerate(items, 1):
        yield item
        on_progress(what, number, len(items))


def shortened(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings without the endless tail of any one kind, which becomes one finding that counts."""
    counted: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        kind = (finding.what, finding.advice)
        counted[kind] = counted.get(kind, 0) + 1
        last[kind] = finding
        if counted[kind] <= TOLD:
            yield finding
    for kind, number in counted.items():
        if number > TOLD:
            one = last[kind]
            yield Finding(one.what, one.state, f"… and {number - TOLD} more like these", one.advice)
