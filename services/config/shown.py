"""Every setting with what it is now and where that comes from, for the command line and a page."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from services.config.settings import PROJECT_FILE, Settings

MASK = "********"
PASSWORD = re.compile(r"(://[^/@:]*:)[^@]+@")
"""In a URL of a database or broker."""
WORD = re.compile(r"(password=)[^&;]+")
"""The same in its query."""


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


def current_settings(settings: Settings) -> list[SettingRow]:
    """All settings with their values and sources."""
    file = settings.resolved_project() / PROJECT_FILE
    written = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    given = {name.upper() for name in os.environ}
    found = []
    for row in setting_rows(Settings):
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


def setting_rows(model: type[BaseModel], prefix: str = "") -> Iterator[SettingRow]:
    """The settings of a group and of the groups in it, with their defaults as values."""
    for key, field in model.model_fields.items():
        group = field.default_factory
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from setting_rows(group, f"{key}.")
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
    return WORD.sub(rf"\1{MASK}", PASSWORD.sub(rf"\1{MASK}@", str(value)))


def _is_in(written: dict[str, Any], name: str) -> bool:
    table, _, key = name.rpartition(".")
    return key in (written.get(table, {}) if table else written)


def _is_in_environment(row: SettingRow, given: set[str]) -> bool:
    if row.variable in given:
        return True
    table, _, key = row.name.rpartition(".")
    whole = os.environ.get(f"E2X_{table.upper()}", "") if table else ""
    return bool(whole) and key in json.loads(whole)  # a whole table may come as JSON
