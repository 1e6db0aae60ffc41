"""Figures of a run as SVG files that stand alone: the curve of the training, the gate's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from services.report.curve import curve_of

STYLE = (
    "text{font:12px sans-serif;fill:#222}polyline{fill:none;stroke-width:2}"
    ".loss{stroke:#777;stroke-dasharray:5 4}.ap50{stroke:#0a6}.cooled{stroke:#c60}"
)
TEXT_H, ROW_H, WIDTH = 44, 22, 860
LOOKS = {True: ("#0a6", "passed"), False: ("#c22", "failed"), None: ("#777", "skipped")}


def curve(title: str, history: Mapping[str, Any]) -> str:
    """Loss and AP50 of a training by step; "" where there are no two points."""
    line = curve_of(title, history)
    if line is None:
        return ""
    parts = []
    if line.cooled_x is not None:
        x = line.cooled_x
        parts.append(f'<line class="cooled" x1="{x}" x2="{x}" y1="0" y2="{line.height}"/>')
    for name, points in (("loss", line.loss), ("ap50", line.ap50)):
        if points:
            parts.append(f'<polyline class="{name}" points="{_points(points)}"/>')
    below = line.height + 16
    words = f"{line.title}: {line.words}"
    parts.append(f'<text x="8" y="{below}">{escape(words)}</text>')
    parts.append(
        f'<text x="8" y="{below + 16}">dashed: loss; solid: AP50 of the validation share, 0 to 1; '
        "upright: from here on the rate fell</text>"
    )
    return _svg(max(line.width, 640), line.height + TEXT_H, parts)


def gate(title: str, decision: Mapping[str, Any]) -> str:
    """The gate's verdict with its checks, a row each."""
    said = "promote" if decision["promote"] else "do not promote"
    parts = [f'<text x="8" y="18" font-weight="bold">{escape(f"{title}: {said}")}</text>']
    columns = (8, 360, 450, 550, 640)
    heads = ("check", "champion", "challenger", "bound", "verdict")
    rows = [heads, *(_row(check) for check in decision["checks"])]
    for number, row in enumerate(rows):
        y = 44 + ROW_H * number
        for x, text in zip(columns, row, strict=True):
            colour = next((c for c, word in LOOKS.values() if word == text and number), "#222")
            parts.append(f'<text x="{x}" y="{y}" style="fill:{colour}">{escape(text)}</text>')
    return _svg(WIDTH, 44 + ROW_H * len(rows), parts)


def _row(check: Mapping[str, Any]) -> tuple[str, ...]:
    values = (check[name] for name in ("champion", "challenger", "bound"))
    numbers = ("" if value is None else f"{value:.3f}" for value in values)
    return (str(check["name"])[:52], *numbers, LOOKS[check["passed"]][1])


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}"><style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )
