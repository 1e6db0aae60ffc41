"""Requests to Label Studio: its two kinds of tokens, and what its refusals mean."""

from __future__ import annotations

import logging
import time
from typing import Any

import httpx

from services.errors import InvalidRequest, NotAllowed, NotFound, ServiceError, ToolUnavailable

logger = logging.getLogger(__name__)

NAME = "Label Studio"
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
TRIES = 3
"""Of a request that changes nothing: on SQLite the server's database is often locked."""
PAUSE_S = 0.5
SHOWN = 300
_JWT_DOTS = 2
NEW_TOKEN = "`e2x labels connect label-studio URL --token-file FILE` gives another one"


class Http:
    """A Label Studio server.

    Args:
        url: without its last slash.
        token: a personal access token (JWT, of which access tokens for five minutes are made), or
            a legacy token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._token, self._access = token, ""
        # Redirects are errors: the token goes to nobody but the address that was named.
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT, follow_redirects=False)
        self._url = url

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """What there is at a path.

        Raises:
            ServiceError: see :meth:`send`.
        """
        return self.send("GET", path, query)

    def send(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None
    ) -> Any:
        """The answer to a request, read from JSON; None where it is empty.

        Raises:
            ToolUnavailable: the server is away, or has a trouble of its own.
            NotAllowed: the token is refused.
            NotFound: there is no such thing.
            InvalidRequest: it refuses what was sent.
        """
        tries = TRIES if method == "GET" else 1  # another import of a task is another task
        for left in reversed(range(tries)):
            try:
                return self._once(method, path, query, body)
            except ToolUnavailable:
                if not left:
                    raise
                time.sleep(PAUSE_S)
        raise AssertionError("no try at all")

    def _once(self, method: str, path: str, query: dict[str, Any] | None, body: Any) -> Any:
        answer = self._request(method, path, query, body, self._authorization())
        if answer.status_code == 401 and self._access:  # its five minutes are over
            self._access = ""
            answer = self._request(method, path, query, body, self._authorization())
        if answer.is_success:
            return self._json(answer) if answer.content.strip() else None
        raise self._meaning(answer)

    def _authorization(self) -> str:
        if self._token.count(".") != _JWT_DOTS:
            return f"Token {self._token}"
        if not self._access:
            answer = self._request("POST", "/api/token/refresh", None, {"refresh": self._token}, "")
            if not answer.is_success:
                raise self._meaning(answer)
            self._access = str(self._json(answer).get("access") or "")
        return f"Bearer {self._access}"

    def _request(
        self, method: str, path: str, query: dict[str, Any] | None, body: Any, authorization: str
    ) -> httpx.Response:
        headers = {"Authorization": authorization} if authorization else {}
        try:
            return self._client.request(method, path, params=query, json=body, headers=headers)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            told = f"{type(error).__name__} {error}".strip()
            raise ToolUnavailable(
                f"{NAME} at {self._url} does not answer: {self._plain(told)}"
            ) from None

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise ToolUnavailable(
                f"what answers at {self._url} is no {NAME}: no JSON at {answer.request.url.path}"
            ) from None

    def _meaning(self, answer: httpx.Response) -> ServiceError:
        status, path = answer.status_code, answer.request.url.path
        told = self._plain(" ".join(answer.text.split()))
        where = f"{NAME} at {self._url}"
        if status in (401, 403):
            return NotAllowed(f"{where} refuses the token ({status} {told}): {NEW_TOKEN}")
        if status == 404:
            return NotFound(f"{where} has no {path}: {told}")
        if status >= 500 or status in (408, 429):
            return ToolUnavailable(f"{where} is in trouble, {status} at {path}: {told}")
        if 300 <= status < 400:
            return InvalidRequest(f"{where} is elsewhere ({status} at {path}): give that address")
        return InvalidRequest(f"{where} refuses {path} ({status}): {told}")

    def _plain(self, text: str) -> str:
        """A text without secrets, to be shown."""
        for secret in (self._token, self._access):
            if secret:
                text = text.replace(secret, "…")
        return text[:SHOWN]
