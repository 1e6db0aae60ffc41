"""Scripts and styles, under the hash of their contents: a browser keeps them until they change.

One hash stands for all of them, as a folder in the address: modules import each other by relative
names, and a page never mixes files of two versions.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from services.errors import NotFound

KINDS: Final = MappingProxyType(
    {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
)
KEPT = "public, max-age=31536000, immutable"
HASH_DIGITS = 16

router = APIRouter()


@lru_cache(maxsize=1)
def files() -> dict[str, bytes]:
    """All assets by name; ``report.css`` is the report's own style, which the pages share."""
    found = dict(_below(resources.files("services.web") / "static", ""))
    style = resources.files("services.report") / "templates" / "style.css"
    return {**found, "report.css": style.read_bytes()}


def _below(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _below(entry, f"{prefix}{entry.name}/")
        else:
            found.append((f"{prefix}{entry.name}", entry.read_bytes()))
    return found


@lru_cache(maxsize=1)
def version() -> str:
    """The hash of all assets."""
    seen = hashlib.sha256()
    for name, data in sorted(files().items()):
        seen.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return seen.hexdigest()[:HASH_DIGITS]


def address(name: str) -> str:
    """Where a page finds an asset.

    Raises:
        KeyError: there is none of that name.
    """
    if name not in files():
        raise KeyError(name)
    return f"/assets/{version()}/{name}"


@router.get("/assets/{of}/{name:path}")
def asset(of: str, name: str) -> Response:
    """A file; one that an older page asks for is answered, but not kept under its old name."""
    data = files().get(name)
    kind = KINDS.get(name[name.rfind(".") :])
    if data is None or kind is None:
        raise NotFound("no such file")
    headers = {"Cache-Control": KEPT if of == version() else "no-cache"}
    return Response(data, media_type=kind, headers=headers)
