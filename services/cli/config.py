"""``e2x config``: every setting, what it is now, and where that comes from."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import annotated_types
import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from services.cli.common import JsonOption, print_json, print_table
from services.config.settings import PROJECT_FILE, Settings, get_settings
from services.errors import NotFound
from services.plain import visible

MASK = "********"
PASSWORD = re.compile(r"(://[^/@:]*:)[^@]+@")
"""In a URL of a database or broker."""


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting.

    Attributes:
        name: as in ``e2x.toml``, with its table: ``training.epochs``.
        variable: the environment variable that sets it.
        default: as text.
        bounds: allowed values, as text.
        description: one sentence.
        value: as text; secrets are masked.
        source: ``default``, ``e2x.toml`` or ``environment``.
    """

    name: str
    variable: str
    default: str
    bounds: str
    description: str
    value: str = ""
    source: str = "default"


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
    for row in _rows(Settings, ""):
        default = f"`{row.default}`" if row.default else ""
        cells = (f"`{row.name}`", default, row.bounds, row.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def current_settings(settings: Settings) -> list[SettingRow]:
    """All settings with their values and sources."""
    file = settings.resolved_project() / PROJECT_FILE
    written = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    given = {name.upper() for name in os.environ}
    found = []
    for row in _rows(Settings, ""):
        value: Any = settings
        for part in row.name.split("."):
            value = getattr(value, part)
        source = "default"
        if _is_in_environment(row, given):
            source = "environment"
        elif _is_in(written, row.name):
            source = PROJECT_FILE
        found.append(
            SettingRow(
                **{**asdict(row), "value": _shown(value), "source": source},
            )
        )
    return found


def _rows(model: type[BaseModel], prefix: str) -> Iterator[SettingRow]:
    for key, field in model.model_fields.items():
        group = field.default_factory
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from _rows(group, f"{key}.")
            continue
        name = f"{prefix}{key}"
        yield SettingRow(
            name=name,
            variable="E2X_" + name.replace(".", "__").upper(),
            default=_shown(field.default),
            bounds=_bounds(field),
            description=field.description or "",
        )


def _bounds(field: FieldInfo) -> str:
    """Allowed values of a field, such as ``≥ 1`` or the names to choose from."""
    texts = []
    for rule in field.metadata:
        match rule:
            case annotated_types.Ge():
                texts.append(f"≥ {rule.ge}")
            case annotated_types.Gt():
                texts.append(f"> {rule.gt}")
            case annotated_types.Le():
                texts.append(f"≤ {rule.le}")
            case annotated_types.Lt():
                texts.append(f"< {rule.lt}")
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        texts.append(", ".join(f"`{choice}`" for choice in choices))
    elif field.annotation is bool:
        texts.append("`true`, `false`")
    return ", ".join(texts)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, dict):
        return json.dumps(value)
    return PASSWORD.sub(rf"\1{MASK}@", str(value))


def _is_in(written: dict[str, Any], name: str) -> bool:
    table, _, key = name.rpartition(".")
    return key in (written.get(table, {}) if table else written)


def _is_in_environment(row: SettingRow, given: set[str]) -> bool:
    if row.variable in given:
        return True
    table, _, key = row.name.rpartition(".")
    whole = os.environ.get(f"E2X_{table.upper()}", "") if table else ""
    return bool(whole) and key in json.loads(whole)  # a whole table may come as JSON
