"""One bearer token for the whole API, looked at before anything else of a request is."""

from __future__ import annotations

import os
import secrets

from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.protocol import TRUSTED
from services.config.project import TOKEN_FILE
from services.context import Context
from services.errors import NotAllowed

OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", "/docs")
"""What is answered without the token: health, and how the API is used. Whatever lies below
``/docs/`` is open too: the files of that page."""
SCRAPED = "/metrics"
"""What a token of its own opens too."""
described = HTTPBearer(auto_error=False, description="The project's token")
"""For the description only; :class:`Authenticate` is what asks for the token."""

_ADVICE = (
    "send `Authorization: Bearer TOKEN`; the token is in state/api-token of the project, "
    "or what E2X_API__TOKEN says"
)


def project_token(context: Context) -> str:
    """The token that is set, or the one in the project folder, which is made if it is absent."""
    configured = context.settings.api_token()
    if configured:
        return configured
    path = context.project.state / TOKEN_FILE
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_urlsafe(32))
        try:
            os.link(temporary, path)  # fails where another process was first
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    token = path.read_text().strip()
    if not token:
        raise NotAllowed(f"{path.name} is empty: delete it, and a new token is made")
    return token


class Authenticate:
    """Answers 401 to a request without the right token; nothing of its body is read.

    Stands in front of routing and of everything that reads bodies: what a stranger sends is never
    parsed. A request that may pass is marked as trusted for the connection that it came by.

    Args:
        app: the next application.
        token: the right one.
        scrape_token: opens :data:`SCRAPED` and nothing else; None: there is none.
    """

    def __init__(self, app: ASGIApp, token: str, scrape_token: str | None = None) -> None:
        self._app, self._expected = app, token.encode()
        self._scrape = None if scrape_token is None else scrape_token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._has_token(scope):
            scope.setdefault("state", {})[TRUSTED] = True
            await self._app(scope, receive, send)
        elif is_open(scope["path"]):
            await self._app(scope, receive, send)
        else:
            body = {"code": NotAllowed.code, "message": _ADVICE}
            headers = {"WWW-Authenticate": "Bearer"}
            await JSONResponse(body, NotAllowed.status, headers)(scope, receive, send)

    def _has_token(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        # In a time that does not tell how much of it is right.
        right = secrets.compare_digest(token.strip(), self._expected)
        if self._scrape is not None and scope["path"] == SCRAPED:
            right |= secrets.compare_digest(token.strip(), self._scrape)
        return right and scheme.lower() == b"bearer"


def is_open(path: str) -> bool:
    """Whether a path is answered without the token."""
    return path in OPEN_PATHS or path.startswith("/docs/")
