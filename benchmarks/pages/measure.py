"""Pages asked for as a browser does: processor time, statements, steps of the database, bytes."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import httpx
from sqlalchemy import event

from benchmarks.common.waiting import wait_until
from benchmarks.pages.project import failure_id
from services.accounts import login, users
from services.api import server as serve
from services.api.app import create_app
from services.api.auth import session_cookie
from services.config.setting_groups import ApiSettings
from services.context import Context

FIRST = failure_id(0)
FILTERED = "kind=false_negative&label=car&mechanism=background&state=explained&model=1"
PAGES = (
    *("/", "/failures", f"/failures?{FILTERED}", "/failures?drive=drive+3&since=2020-01-01"),
    *("/failures?mode=0", "/failures?mode=2", f"/failures/{FIRST}", f"/failures/{FIRST}/analysis"),
    *(f"/failures/{FIRST}/neighbours", "/modes", "/modes/1", "/modes/1/split", "/plan"),
    *("/plan?mode=1", "/label", "/label/waiting", "/looks", "/looks/3", "/models", "/models/1"),
    *("/data", "/work", "/work?state=dead", "/settings", "/account", "/users", "/audit"),
    *("/audit?who=anna", "/help"),
)
"""Every page; those of one row are 404 where there is none."""
AT_ONCE = 24
"""Pictures of those that are loaded as one scrolls: more than a screen of 1280 by 800 shows."""
LINKED = re.compile(r'(?:src|href)="(/(?:assets|pictures)/[^"]+)"')


@dataclass(frozen=True, slots=True)
class Cost:
    """What one page takes.

    Attributes:
        path: of the page.
        status: of its answer.
        first_byte_ms: processor time of server and client until the page itself is there; pages
            are sent whole, so the first byte comes with the last.
        complete_ms: the same with styles, scripts and the pictures of the first screen.
        statements: asked of the database for the page.
        pictures: that it shows.
        kilobytes: of the page.
    """

    path: str
    status: int
    first_byte_ms: float
    complete_ms: float
    statements: int
    pictures: int
    kilobytes: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@contextmanager
def visitor(context: Context) -> Iterator[httpx.Client]:
    """An admin's browser before the service, which runs in a thread."""
    app = create_app(context)
    listener = socket.create_server(("127.0.0.1", 0))
    server = serve.server(app, ApiSettings())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, 60, "the API listens")
        with context.sessions.begin() as session:
            admin = users.find(session, "admin")
            made = login.begin(session, context.settings, admin, "benchmark")
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        cookies = {session_cookie(context.settings): made.session_id}
        with httpx.Client(
            base_url=url, cookies=cookies, headers={"accept": "text/html"}, timeout=120
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


def cost(context: Context, client: httpx.Client, path: str, times: int = 5) -> Cost:
    """Ask for a page, some times; then for all that it shows, once."""
    client.get(path)  # templates are compiled once a process
    spent, answer = [], client.get(path)
    for _ in range(times):
        begin = time.process_time()
        answer = client.get(path)
        spent.append(1e3 * (time.process_time() - begin))
    with counted(context) as statements:
        client.get(path)
    linked = dict.fromkeys(one.replace("&amp;", "&") for one in LINKED.findall(answer.text))
    pictures = [one for one in linked if one.startswith("/pictures/")]
    beyond = set(pictures[AT_ONCE:])
    begin = time.process_time()
    for one in linked.keys() - beyond:
        client.get(one)
    others = 1e3 * (time.process_time() - begin)
    return Cost(
        path=path.replace(FIRST, "ID"),
        status=answer.status_code,
        first_byte_ms=round(median(spent), 1),
        complete_ms=round(median(spent) + others, 1),
        statements=len(statements),
        pictures=len(pictures),
        kilobytes=round(len(answer.content) / 1e3, 1),
    )


@contextmanager
def counted(context: Context) -> Iterator[list[str]]:
    """The statements that the database is asked meanwhile."""
    seen: list[str] = []

    def saw(*told: Any) -> None:
        seen.append(told[2])

    event.listen(context.engine, "before_cursor_execute", saw)
    try:
        yield seen
    finally:
        event.remove(context.engine, "before_cursor_execute", saw)
