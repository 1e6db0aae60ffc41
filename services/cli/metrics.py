"""``e2x metrics``: what Prometheus would read, once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.common import opened


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("metrics")(metrics)


def metrics(
    output: Annotated[
        Path | None,
        typer.Option(help="A file, written whole or not at all; without: the screen."),
    ] = None,
) -> None:
    """Print all metrics once, in the text format of Prometheus.

    For hosts that nothing scrapes: with --output into the folder that a node exporter's textfile
    collector reads. The figures of HTTP requests are missing: they are the API's own.
    """
    from curation.kernel.files import write_bytes
    from services.worker import watched

    with opened() as context:
        text = watched.exposition(context).text()
    if output is None:
        typer.echo(text.decode(), nl=False)
    else:
        write_bytes(output.expanduser(), text)
