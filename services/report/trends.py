"""The table of failure modes over the cycles: state, trend and a glance at each."""

from __future__ import annotations

from collections.abc import Sequence

from services.report import words
from services.report.exemplars import Artist
from services.report.page import PageTrend, Sparkline
from services.report.read import ReportRows, TrendRows

THUMBS = 3
"""Small pictures a mode."""
SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN = 120, 30, 4


def mode_anchor(mode_id: int) -> str:
    """Where the page shows a mode over all cycles."""
    return f"mode-{mode_id}"


def sighting_anchor(cycle_id: int, mode_id: int) -> str:
    """Where the page shows what a cycle saw of a mode."""
    return f"cycle-{cycle_id}-mode-{mode_id}"


def overview(rows: ReportRows, artist: Artist) -> list[PageTrend]:
    """One row a mode; every mode has its first picture before any has its second."""
    shown = {(cycle.cycle.id, mode.mode.id) for cycle in rows.cycles for mode in cycle.modes}
    found = [_trend(one, shown) for one in rows.trends]
    for turn in range(THUMBS):
        for one, page in zip(rows.trends, found, strict=True):
            if turn < len(one.exemplars) and not artist.ledger.is_spent:
                picture = artist.thumbnail(one.exemplars[turn])
                page.pictures += [picture] if picture else []
    return found


def sparkline(sizes: Sequence[tuple[int, int]]) -> Sparkline:
    """Counts by cycle as points; the highest is at the top, nothing is at the bottom.

    Args:
        sizes: cycle and count, at least one.
    """
    most = max(1, *(size for _, size in sizes))
    step = (SPARK_WIDTH - 2 * SPARK_MARGIN) / max(1, len(sizes) - 1)
    high = SPARK_HEIGHT - 2 * SPARK_MARGIN
    points = [
        (round(SPARK_MARGIN + step * n, 1), round(SPARK_MARGIN + high * (1 - size / most), 1))
        for n, (_, size) in enumerate(sizes)
    ]
    text = ", ".join(f"cycle {cycle}: {size}" for cycle, size in sizes)
    return Sparkline(points, text, SPARK_WIDTH, SPARK_HEIGHT)


def _trend(one: TrendRows, shown: set[tuple[int, int]]) -> PageTrend:
    trend, mode = one.trend, one.trend.mode
    return PageTrend(
        anchor=mode_anchor(mode.id),
        name=mode.name,
        kind=words.mode_kind(mode.family, trend.last.kind),
        state=words.mode_state(mode.state),
        size=trend.size,
        failing=f"{trend.failing} of {trend.places}",
        judged=_judged(trend.teaching, trend.places),
        asked=trend.asked,
        spark=sparkline(trend.sizes),
        cycles=[
            (cycle, sighting_anchor(cycle, mode.id))
            for cycle, _ in trend.sizes
            if (cycle, mode.id) in shown
        ],
        changes=[
            f"cycle {step.cycle}: {words.mode_state(step.state).text} ({step.why})"
            for step in one.changes
        ],
    )


def _judged(teaching: int, judging: int) -> str:
    """What the failures of a mode do, by their frames."""
    if teaching and not judging:
        return f"{teaching} teach, nobody judges"
    return f"{teaching} teach, {judging} judge"
