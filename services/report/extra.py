"""What a caller may add to the page, and what it must bring for pictures after retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure at the top of the page.

    Attributes:
        title: what it is.
        after: the figure now, as text.
        before: the figure at first, as text; empty where there is nothing to compare with.
        verdict: whether the change is ``good`` or ``bad``; ``plain`` where it is neither.
        note: small print.
    """

    title: str
    after: str
    before: str = ""
    verdict: Literal["good", "bad", "plain"] = "plain"
    note: str = ""

    @staticmethod
    def compare(
        title: str,
        before: float,
        after: float,
        *,
        lower_is_better: bool,
        form: str = "g",
        tolerance: float = 0.0,
    ) -> Tile:
        """A tile of two figures, coloured by which is better.

        Args:
            title: what they are.
            before: at first.
            after: now.
            lower_is_better: as for failures.
            form: of both figures, as in a format string.
            tolerance: a smaller change says nothing.
        """
        verdict: Literal["good", "bad", "plain"] = "plain"
        if abs(after - before) > tolerance:
            verdict = "good" if (after < before) is lower_is_better else "bad"
        return Tile(title, format(after, form), format(before, form), verdict)


@dataclass(frozen=True, slots=True)
class ReportExtra:
    """What the caller knows and the database does not.

    Attributes:
        title: of the page.
        intro: a sentence or two below it.
        tiles: figures at the top; without any, the page shows those of the database.
        tables: title to rows of text, the first row being the header.
    """

    title: str = ""
    intro: str = ""
    tiles: Sequence[Tile] = ()
    tables: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
