"""``e2x config``: every setting, what it is now, and where that comes from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from services.cli.common import JsonOption, print_json, print_table
from services.config.settings import Settings, get_settings
from services.config.shown import current_settings, setting_rows
from services.errors import NotFound
from services.plain import visible


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("config")(config)


def config(
    name: Annotated[str, typer.Argument(help="Only settings whose name contains this.")] = "",
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/settings.md's table of them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List every setting: description, value, where it comes from, its variable."""
    if markdown:
        typer.echo(visible(settings_table()))
        return
    rows = [row for row in current_settings(get_settings()) if name in row.name]
    if not rows:
        raise NotFound(f"no setting contains {name!r}: `e2x config` lists all")
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        "Settings",
        ("setting", "value", "from", "what it does", "allowed", "variable"),
        [
            (row.name, row.value, row.source, row.description, row.bounds, row.variable)
            for row in rows
        ],
    )


def settings_table() -> str:
    """All settings as a Markdown table: name, default, allowed values, description.

    ``docs/settings.md`` holds it.
    """
    lines = ["| setting | default | allowed | what it does |", "|---|---|---|---|"]
    for row in setting_rows(Settings):
        default = f"`{row.default}`" if row.default else ""
        cells = (f"`{row.name}`", default, row.bounds, row.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
