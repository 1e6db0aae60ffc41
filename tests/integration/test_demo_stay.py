"""After the demo: whoever reads what is printed gets in."""

from __future__ import annotations

import io
import re

import httpx
from rich.console import Console

from services.context import Context
from services.demo.stay import stay
from services.worker.supervisor import Supervisor


def test_the_printed_login_opens_the_pages(sqlite_context: Context) -> None:
    printed = io.StringIO()
    titles: list[str] = []

    def look(up: Supervisor) -> None:
        name, password = re.search(r"name: (\S+)  password: (\S+)", printed.getvalue()).groups()  # type: ignore[union-attr]
        with httpx.Client(base_url=str(up.api_url), headers={"accept": "text/html"}) as client:
            asked = client.get("/", follow_redirects=True)
            form = {"name": name, "password": password}
            page = client.post("/login", data=form, follow_redirects=True)
            titles.extend(re.findall(r"<title>(.*?) ·", asked.text + page.text))

    with Supervisor(sqlite_context, workers={}) as up:
        stay(sqlite_context, up, Console(file=printed, width=200), look)

    assert titles == ["Sign in", "Start"]
    assert "no further cycle: there is no champion yet" in printed.getvalue()
