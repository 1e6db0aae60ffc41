"""Templates: what they are handed is escaped, and shown with nothing that a browser obeys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup as Markup

from services.context import Context
from services.db.base import utc_now
from services.plain import visible
from services.report import words
from services.web import assets, session

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
"""Of every page. With no referrer at all a browser hides its origin from our own forms as well."""
NAVIGATION = (
    ("/", "Start", "look"),
    ("/label", "Label", "label"),
    ("/looks", "Second looks", "look"),
    ("/failures", "Failures", "look"),
    ("/modes", "Modes", "look"),
    ("/plan", "Plan", "look"),
    ("/samples", "Samples", "look"),
    ("/models", "Models", "look"),
    ("/data", "Data", "look"),
    ("/work", "Work", "look"),
    ("/settings", "Settings", "look"),
    ("/users", "Users", "administer"),
    ("/audit", "Audit", "administer"),
    ("/help", "Help", "look"),
)
DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of all pages."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader("services.web"), PackageLoader("services.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters.update(
        moment=moment,
        ago=ago,
        percent=words.percent,
        seconds=_seconds,
        three=_three,
        day=_day,
        short=_short,
        zip_self=lambda values: [(value, value) for value in values],
    )
    made.globals.update(
        asset=assets.address, kinds=words.KINDS, mechanisms=words.MECHANISMS, title_of=_title
    )
    return made


def page(
    request: Request,
    name: str,
    values: Mapping[str, Any],
    user: session.User | None = None,
    status: int = 200,
) -> HTMLResponse:
    """A page as an answer.

    Args:
        request: what asked.
        name: of the template.
        values: what it is handed.
        user: who looks, None on the pages that need nobody.
        status: of the answer.
    """
    shown = [] if user is None else [row for row in NAVIGATION if user.may(row[2])]
    told = {"user": user, "here": request.url.path, "navigation": shown, **values}
    return HTMLResponse(text(name, told), status, _headers(request))


def _headers(request: Request) -> dict[str, str]:
    """Those of every page; pictures may come from the bucket, where they are sent from there."""
    context: Context | None = getattr(request.app.state, "context", None)
    public = context.settings.storage.public_endpoint if context is not None else ""
    if not public:
        return dict(HEADERS)
    policy = POLICY.replace("img-src 'self'", f"img-src 'self' {public}")
    return HEADERS | {"Content-Security-Policy": policy}


def text(name: str, values: Mapping[str, Any]) -> str:
    """A template filled in."""
    return environment().get_template(name).render(values)


def _shown(value: Any) -> Any:
    """Text with marks that turn its direction, and the like, as their codes."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def moment(at: datetime | None) -> str:
    """A time, to the minute."""
    return "–" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(at: datetime | None) -> str:
    """How long ago that was, in the largest unit that fits."""
    if at is None:
        return "–"
    seconds = (utc_now() - at).total_seconds()
    if seconds < 0:
        return moment(at)
    for size, unit in ((DAY_S, "day"), (HOUR_S, "hour"), (MINUTE_S, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _seconds(value: float) -> str:
    """A length of time in words, as exact as an estimate is."""
    if value < 1:
        return "a second"
    if value < 2 * MINUTE_S:
        return f"{value:.0f} s"
    return (
        f"{value / MINUTE_S:.0f} minutes" if value < 2 * HOUR_S else f"{value / HOUR_S:.0f} hours"
    )


def _day(at: datetime) -> str:
    return f"{at:%d %b}"


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _short(identity: str | None) -> str:
    return "–" if identity is None else identity[: words.SHORT_ID]


def _title(failure: Any) -> str:
    return words.failure_title(failure)
