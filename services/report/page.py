"""What the templates are handed: text and data URIs, no rows and no arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from services.report.extra import Tile


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its heading and a line below."""

    uri: str
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a failure, and whether that is ``good``, ``bad`` or neither."""

    text: str
    verdict: Literal["good", "bad", "plain"]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One failure in pictures.

    Attributes:
        id: of the failure.
        title: what went wrong.
        facts: small print.
        panels: before, why, where, after.
        outcome: what became of it; None if that is unknown.
    """

    id: str
    title: str
    facts: str
    panels: Sequence[Panel]
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """One way from a failure to a model."""

    failure: str
    regions: str
    sample: str
    label: str
    model: str


@dataclass(slots=True)
class PageMode:
    """A failure mode; its pictures are added while there is room for them.

    Attributes:
        anchor: its place on the page.
        title: number, class and kind.
        before: share of its failures that the champion gets right, as text; so ``after``.
        after_percent: for the bar, 0..100; None if unknown.
        failures: how many.
        samples: how many images were asked for.
    """

    anchor: str
    title: str
    failures: int
    before: str
    after: str
    after_percent: float | None
    samples: int
    exemplars: list[Exemplar] = field(default_factory=list)
    pictures: list[Panel] = field(default_factory=list)
    lineage: list[Lineage] = field(default_factory=list)
    lineage_left_out: int = 0

    @property
    def failures_left_out(self) -> int:
        """Failures without pictures."""
        return self.failures - len(self.exemplars)

    @property
    def samples_left_out(self) -> int:
        """Samples without pictures."""
        return self.samples - len(self.pictures)


@dataclass(frozen=True, slots=True)
class PageCycle:
    """One turn of the loop.

    Attributes:
        facts: names and values.
        promote: the gate's word; None before it has spoken.
        checks: rows of its table.
        policy: what chose the images.
        other_samples: images asked for outside of any mode.
    """

    number: int
    outcome: str
    facts: Sequence[tuple[str, str]]
    promote: bool | None
    promoted: bool | None
    challenger: str
    checks: Sequence[dict[str, Any]]
    modes: Sequence[PageMode]
    policy: str
    other_samples: int


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on the page; ``next_steps`` are words and commands where there is no cycle."""

    title: str
    intro: str
    made: str
    version: str
    project: str
    tiles: Sequence[Tile]
    tables: Sequence[tuple[str, Sequence[Sequence[str]]]]
    cycles: Sequence[PageCycle]
    next_steps: Sequence[tuple[str, str]]
    has_after: bool
