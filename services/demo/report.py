"""The demo's page: the project's report with the demo's figures on top."""

from __future__ import annotations

from pathlib import Path

from services.context import Context
from services.demo.figures import Figures


def write_report(
    project: Context, out: Path, result: Figures, compared: dict[str, Figures]
) -> Path:
    """Write the page."""
    return out
