"""The description names the least role of every address, and the answer to those without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from services.api.roles import Roles

_BLANK_KINDS = (":row", ":path")
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def with_roles(app: FastAPI, roles: Roles) -> Callable[[], dict[str, Any]]:
    """What takes the place of an application's ``openapi``."""
    plain = app.openapi
    told = {_plain(address): role for address, role in roles.least.items()}

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    _tell(operation, told.get(f"{method.upper()} {path}"))
        return plain()

    return openapi


def _tell(operation: dict[str, Any], role: str | None) -> None:
    said = f"Least role: {role}." if role else "No login needed."
    operation["x-least-role"] = role
    operation["description"] = "\n\n".join(
        part for part in (operation.get("description", ""), said) if part
    )
    if role:
        operation["responses"].setdefault(
            "403", {"description": f"Whoever asks is no {role}", "content": _ERROR}
        )
    else:
        operation.pop("security", None)


def _plain(address: str) -> str:
    for kind in _BLANK_KINDS:
        address = address.replace(f"{kind}}}", "}")
    return address
