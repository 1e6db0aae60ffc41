"""The ``e2x`` command."""

from __future__ import annotations

import typer

from services.demo import cli as demo

app = typer.Typer(no_args_is_help=True)
demo.register(app)


@app.callback()
def root() -> None:
    """Explain-to-Fix."""


def main() -> None:
    """Run the command line."""
    app()
