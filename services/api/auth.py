"""One bearer token for the whole API."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.context import Context
from services.errors import NotAllowed

TOKEN_FILE = "api-token"
bearer = HTTPBearer(auto_error=False, description="The project's token")


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


def require_token(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> None:
    """Refuse a request without the right token.

    Raises:
        NotAllowed: it is missing or unknown.
    """
    expected: str = request.app.state.token
    given = credentials.credentials if credentials else ""
    if not secrets.compare_digest(given.encode(), expected.encode()):
        raise NotAllowed(
            "send `Authorization: Bearer TOKEN`; the token is in state/api-token of the project, "
            "or what E2X_API__TOKEN says"
        )
