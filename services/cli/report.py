"""``e2x report``: the page that shows what the loop did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.common import console, opened


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    cycle: Annotated[
        list[int] | None, typer.Option("--cycle", help="Only this cycle; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file; without: reports/report.html of the project.")
    ] = None,
    models: Annotated[
        bool, typer.Option("--models/--no-models", help="Run the detectors for before and after.")
    ] = True,
    view: Annotated[bool, typer.Option("--open", help="Open the page.")] = False,
) -> None:
    """Write one HTML page: failures, why, what was labelled for them, what came of it."""
    from services.report import build, predictor

    with opened() as context:
        file = (out or context.project.reports / "report.html").expanduser().resolve()
        with console().status("drawing"):
            build(context, file, cycle, predict=predictor(context) if models else None)
    console().print(f"report: {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    if view:
        typer.launch(file.as_uri())
