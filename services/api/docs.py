"""``/docs``: the API in a browser, with nothing from anywhere else.

People paste the token into this page, so that no script of another host may run in it: Swagger UI
comes from a package, and the page's policy lets scripts come from this server's files only.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from services.errors import NotFound

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Swagger UI writes style attributes, and draws its icons as data."""
KINDS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
    "docs.js": "text/javascript",
}
OURS = ("docs.js", "docs.html")

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs_page() -> HTMLResponse:
    """The page."""
    headers = {"Content-Security-Policy": POLICY}
    return HTMLResponse(_file("docs.html").read_bytes(), headers=headers)


@router.get("/docs/{name}")
def docs_file(name: str) -> Response:
    """A file of the page."""
    if name not in KINDS:
        raise NotFound(f"no file {name}")
    headers = {"Cache-Control": "no-cache"}  # may be kept, must be asked about
    return Response(_file(name).read_bytes(), media_type=KINDS[name], headers=headers)


def _file(name: str) -> Traversable:
    if name in OURS:
        return resources.files("services.api") / "static" / name
    return resources.files("fastapi_offline") / "static" / name
