"""Changes that come by cookie must come from our own pages.

A browser sends the cookie with whatever any site makes it send. So a change by cookie must bring
the session's CSRF token, which other sites cannot read, in a header, which they cannot set; and
where the browser says which site it comes from, that must be ours. A request with a token in its
`Authorization` needs neither: no browser adds that by itself.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.types import Scope

from services.accounts.identity import Identity
from services.config.settings import Settings
from services.web import paths

HEADER = "X-CSRF-Token"
_HEADER = HEADER.lower().encode()
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OTHER = "this came from another site: open the page at its own address and try again"
_MISSING = (
    f"a change by cookie needs the header {HEADER} with `csrf` of GET /v1/me: "
    "reload the page and try again"
)


def refusal(scope: Scope, settings: Settings, who: Identity) -> str | None:
    """Why a change by cookie is refused; None: it is not."""
    if who.via != "session" or scope["method"] in SAFE_METHODS:
        return None
    if paths.is_page(scope["path"]):  # a form sets no header: its page looks at a field of it
        return other_site(scope, settings)
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if len(given) != 1 or not secrets.compare_digest(given[0], who.csrf.encode()):
        return _MISSING
    return other_site(scope, settings)


def other_site(scope: Scope, settings: Settings) -> str | None:
    """Why a change is refused that a page of another site makes a browser send.

    Programs that are no browser say nothing about a site, and are let through here.
    """
    if scope["method"] in SAFE_METHODS:
        return None
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    said = headers.get(b"origin") or headers.get(b"referer")
    if headers.get(b"sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return _OTHER
    if said is None:
        return None
    ours = settings.accounts.public_url
    try:
        if ours:
            same = _origin(said) == _origin(ours)
        else:  # a proxy may have taken the scheme away
            same = urlsplit(said).netloc.lower() == headers.get(b"host", "").lower()
    except ValueError:  # no address at all
        same = False
    return None if same else _OTHER


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port
