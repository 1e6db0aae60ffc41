"""Hands the settings of one process to another, as the variables that make the same settings."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, SecretStr

from services.config.settings import Settings


def environment_of(settings: Settings) -> dict[str, str]:
    """``E2X_…`` variables of everything that differs from its default, and of the project."""
    variables = _differing(settings, "E2X_", "")
    variables["E2X_PROJECT"] = str(settings.resolved_project())
    return variables


def _differing(model: BaseModel, prefix: str, path: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        variable = f"{prefix}{path}{name}".upper()
        if isinstance(value, BaseModel):
            variables |= _differing(value, prefix, f"{path}{name}__")
        elif value != field.get_default(call_default_factory=True):
            variables[variable] = _text(value)
    return variables


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool | list | dict | tuple):
        return json.dumps(value)
    return "" if value is None else str(value)
