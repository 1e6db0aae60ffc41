"""After the demo: what is printed lets somebody in, in a real service."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE
from services.demo.stay import stay
from services.worker.supervisor import Supervisor
from tests.services.accounts import log_in
from tests.services.builders import add_champion, add_holdout_image

pytestmark = pytest.mark.whole
NARROW = 40
"""Columns: what is printed is longer."""


def test_whoever_stays_is_told_the_address_and_a_login_that_works(
    tmp_path: Path, sqlite_url: str
) -> None:
    context = make_context(tmp_path / "project", sqlite_url, api={"port": 0})
    with context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
    said = StringIO()
    seen: list[str] = []

    def look_around(up: Supervisor) -> None:
        found = re.search(r"pages: (\S+)/  name: (\S+)  password: (\S+)\n", said.getvalue())
        assert found is not None, said.getvalue()
        address, name, password = found.groups()
        with httpx.Client(
            base_url=address, headers={"accept": "text/html"}, timeout=60 * PATIENCE
        ) as client:
            assert client.get("/").headers["location"].startswith("/login")
            assert log_in(client, name, password).status_code == 200
            seen.extend(client.get(path).text for path in ("/", "/users", "/settings"))

    with Supervisor(context, {}) as up:
        stay(context, up, Console(file=said, width=NARROW), look_around)
    context.engine.dispose()

    start, users, _ = seen
    assert "What waits for whom" in start
    assert "demo" in users  # an admin, who sees everything
