"""What the templates are handed: text and data URIs, no rows and no arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from services.report.curve import Curve
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
    """What a cycle saw of a mode; its pictures are added while there is room for them.

    Attributes:
        anchor: its place on the page.
        trend_anchor: where the page shows the mode over all cycles.
        title: number and name.
        kind: how most of its failures go wrong, where the name does not say it.
        state: of now.
        before: share of its failures that the champion gets right, as text; so ``after``.
        after_percent: for the bar, 0..100; None if unknown.
        failures: how many.
        samples: how many images were asked for.
        drawn: how many samples were drawn for it that have a picture.
        drawn_in_words: what came of drawing, "" where nothing was drawn.
    """

    anchor: str
    trend_anchor: str
    title: str
    kind: str
    state: Outcome
    failures: int
    before: str
    after: str
    after_percent: float | None
    samples: int
    exemplars: list[Exemplar] = field(default_factory=list)
    drawn: int = 0
    drawn_in_words: str = ""
    pictures: list[Panel] = field(default_factory=list)
    made: list[list[Panel]] = field(default_factory=list)
    """Drawn samples: each with the known object before it, and what hurt."""
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
class Sparkline:
    """A small line of counts, as SVG shows it.

    Attributes:
        points: x and y of each count, px of a box of ``width`` and ``height``.
        words: the same as text.
    """

    points: Sequence[tuple[float, float]]
    words: str
    width: int
    height: int


@dataclass(slots=True)
class PageTrend:
    """A failure mode over the cycles, a row of the table; ``pictures`` are added later.

    Attributes:
        anchor: its place on the page.
        name: what people call it.
        kind: how most of its failures go wrong, where the name does not say it.
        size: failures that the newest cycle saw.
        failing: how many of its places the champion fails now, as text.
        judged: how many teach, and how many judge, as text.
        cycles: number and place on the page of each cycle that saw it.
        changes: how it came to its state, the newest last.
    """

    anchor: str
    name: str
    kind: str
    state: Outcome
    size: int
    failing: str
    judged: str
    asked: int
    spark: Sparkline
    cycles: Sequence[tuple[int, str]]
    changes: Sequence[str]
    pictures: list[Panel] = field(default_factory=list)


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
    trends: Sequence[PageTrend]
    cycles: Sequence[PageCycle]
    next_steps: Sequence[tuple[str, str]]
    has_after: bool
    curves: Sequence[Curve] = ()
    """Of the first model's training and the champion's, where they are known."""
