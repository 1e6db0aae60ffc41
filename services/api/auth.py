"""Who a request comes from and whether they may, looked at before anything else of it is."""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import dataclass
from urllib.parse import quote

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.accounts import identity
from services.accounts.identity import WHO as WHO
from services.accounts.identity import Identity
from services.api import app_errors, csrf
from services.api.protocol import TRUSTED
from services.api.roles import Place, Roles
from services.config.project import TOKEN_FILE
from services.config.settings import Settings
from services.context import Context
from services.db import actors
from services.errors import Forbidden, NotAllowed
from services.web import paths
from services.web.app import refused

logger = logging.getLogger(__name__)

LOGIN_PAGE = "/login"
"""Where a browser that is not logged in is sent, if there is such a page."""
SCRAPED = "/metrics"
"""What a token of its own opens too."""
described = HTTPBearer(auto_error=False, description="A personal token, or the project's token")
"""For the description only; :class:`Authenticate` is what asks for the token."""

_ADVICE = (
    "log in, or send `Authorization: Bearer TOKEN`: a personal token, by `e2x users token NAME`"
)
_LOCAL_ADVICE = (
    f"{_ADVICE}, or the project's, which is in state/api-token of the project or what "
    "E2X_API__TOKEN says"
)
_PRODUCTION_ADVICE = (
    f"{_ADVICE}; in production the project's shared token is refused: "
    "`e2x users add NAME --role admin` on the host makes the first account"
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


def session_cookie(settings: Settings) -> str:
    """Name of the cookie; where it is secure, a browser lets no other host of the domain set it."""
    return "__Host-e2x" if is_secure(settings) else "e2x_session"


def is_secure(settings: Settings) -> bool:
    """Whether cookies go by TLS only."""
    return settings.environment == "production" or settings.accounts.public_url.startswith("https:")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows of who sends it."""

    token: str = ""
    session_id: str = ""
    unclear: bool = False
    """It has an `Authorization`, and that is no bearer token; a cookie does not count then."""


def shown(scope: Scope, cookie: str) -> Shown:
    """Read a request's token or cookie; where both are there, the token counts."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if given:
        scheme, _, token = given[0].partition(b" ")
        if len(given) != 1 or scheme.lower() != b"bearer":
            return Shown(unclear=True)
        return Shown(token=token.strip().decode("latin-1"), unclear=not token.strip())
    cookies = [value for name, value in scope["headers"] if name == b"cookie"]
    parsed = cookie_parser("; ".join(one.decode("latin-1") for one in cookies)) if cookies else {}
    return Shown(session_id=parsed.get(cookie, ""))


class Authenticate:
    """Answers 401 to strangers and 403 to those who may not; nothing of their bodies is read.

    Stands in front of routing and of everything that reads bodies: what a stranger sends is never
    parsed, but for the few bytes of a login. Who may pass is marked as trusted for the connection
    that they came by. An address that the table of roles does not have is answered here too.

    Args:
        app: the next application.
        context: wiring.
        roles: the table.
    """

    def __init__(self, app: ASGIApp, context: Context, roles: Roles) -> None:
        self._app, self._context, self._roles = app, context, roles
        self._local = context.settings.environment == "local"
        self._project_token = project_token(context).encode() if self._local else b""
        self._scrape_token = (context.settings.scrape_token() or "").encode()
        self._cookie = session_cookie(context.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        place = self._roles.at(scope["method"], scope["path"])
        given = shown(scope, self._cookie)
        try:
            who = await self._who(given, scope["path"])
        except SQLAlchemyError as error:
            if scope["method"] not in place.methods or place.role is not None:
                busy = app_errors.of_the_database(scope["method"], scope["path"], error)
                await busy(scope, receive, send)
                return
            who = None  # strangers may: it needs no database
        refusal = self._refusal(scope, place, who)
        if refusal is not None:
            if who is not None:
                scope.setdefault("state", {})[TRUSTED] = True
            await refusal(scope, receive, send)
            return
        await self._pass(scope, receive, send, who)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, who: Identity | None) -> None:
        if who is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {}).update({TRUSTED: True, WHO: who})
        with actors.acting(who.actor):
            await self._app(scope, receive, send)
        if identity.is_stale(who):  # after the answer: a look waits for no writer
            await run_in_threadpool(self._touch, who)

    def _touch(self, who: Identity) -> None:
        try:
            identity.touch(self._context.sessions, who)
        except SQLAlchemyError as error:
            logger.warning("when %s was here last is not written: %s", who.name, error)

    async def _who(self, given: Shown, path: str) -> Identity | None:
        if given.unclear:
            return None
        if given.token:
            token = given.token.encode("latin-1")
            # In a time that does not tell how much of it is right.
            if self._local and secrets.compare_digest(token, self._project_token):
                return identity.of_project()
            expected = self._scrape_token if path == SCRAPED else b""
            if expected and secrets.compare_digest(token, expected):
                return identity.of_scraper()
        elif not given.session_id:
            return None
        sessions, settings = self._context.sessions, self._context.settings
        return await run_in_threadpool(
            identity.look, sessions, settings, token=given.token, session_id=given.session_id
        )

    def _refusal(self, scope: Scope, place: Place, who: Identity | None) -> Response | None:
        """The answer to a request that goes no further."""
        there = scope["method"] in place.methods
        if there and place.role is None:
            return _forged(csrf.other_site(scope, self._context.settings))
        if not there and place.is_open:
            return app_errors.wrong_method(scope["method"], place.methods)
        if who is None:
            return self._stranger(scope)
        if not place.methods:
            return _told(scope, who, 404, "not_found", "no such address")
        if not there:
            return app_errors.wrong_method(scope["method"], place.methods)
        if place.role is not None and not who.role.may(place.role):
            told = f"this takes the role {place.role}; {who.name} is {who.role} here: ask an admin"
            return _told(scope, who, Forbidden.status, Forbidden.code, told)
        return _forged(csrf.refusal(scope, self._context.settings, who))

    def _stranger(self, scope: Scope) -> Response:
        if self._is_page(scope):
            wanted = scope["path"] + ("?" if scope["query_string"] else "")
            wanted += scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{LOGIN_PAGE}?next={quote(wanted, safe='')}", 303)
        advice = _LOCAL_ADVICE if self._local else _PRODUCTION_ADVICE
        headers = {"WWW-Authenticate": "Bearer"}
        return app_errors.answer_of(NotAllowed.status, NotAllowed.code, advice, headers)

    def _is_page(self, scope: Scope) -> bool:
        """Whether a browser asks for a page, and there is one to log in on."""
        accepts = dict(scope["headers"]).get(b"accept", b"")
        return (
            scope["method"] == "GET"
            and not scope["path"].startswith("/v1/")
            and b"text/html" in accepts
            and "GET" in self._roles.at("GET", LOGIN_PAGE).methods
        )


def _told(scope: Scope, who: Identity, status: int, code: str, message: str) -> Response:
    """A refusal, as a page where a page was asked for."""
    if paths.is_page(scope["path"]):
        return refused(scope, who, status, code, message)
    return app_errors.answer_of(status, code, message)


def _forged(why: str | None) -> Response | None:
    return None if why is None else app_errors.answer_of(Forbidden.status, "csrf", why)
