"""The API against requests that its description makes: none may be a fault or a surprise.

    python -m tests.services.api_fuzz_at_length --cases 10000 [--seed 0] [--role viewer]

With `--role` as a user of that role, or as a stranger by `--role none`; without it with the
project's token.

Says every half minute how far it is, prints schemathesis's report and what was counted, and ends
with 0 where nothing was found: no server error, no answer that is not described, nothing refused
that is described, nothing taken that is not.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.common.projects import make_context
from services.api.app import create_app
from services.db import migrate
from services.db.tables import UserRole
from tests.services import api_fuzz
from tests.services.api_server import serving

NOBODY = "none"
TELL_S = 30.0
UNREADY = "/readyz"
"""Nothing works beside the API here: it rightly says 503."""
SAYS_FAILURES = re.compile(r"^\s*❌\s*(.+?):\s*(\d+)\s*$", re.MULTILINE)


class Counting:
    """An application whose answers are counted by status.

    Args:
        app: which.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1
                if message["status"] >= 500 and scope["path"] != UNREADY:
                    self.faults[f"{message['status']} {scope['method']} {scope['path']}"] += 1
            await send(message)

        await self._app(scope, receive, count)

    @property
    def requests(self) -> int:
        """How many were answered."""
        return self.statuses.total()

    def tell(self, cases: int, ended: threading.Event) -> None:
        """Say how far it is, until it has ended."""
        begun = time.monotonic()
        while not ended.wait(TELL_S):
            minutes = (time.monotonic() - begun) / 60
            sys.stdout.write(
                f"{minutes:5.1f} min: {self.requests} requests of {cases} and some, "
                f"{self.faults.total()} server errors\n"
            )
            sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--role", choices=[*UserRole, NOBODY], default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/e2x.db"
        context = make_context(folder / "project", url, api={"token": api_fuzz.TOKEN})
        migrate.upgrade(context.engine)
        api_fuzz.populate(context, folder)
        token: str | None = api_fuzz.TOKEN
        if given.role:
            stranger = given.role == NOBODY
            token = None if stranger else api_fuzz.token_for(context, UserRole(given.role))
        counting, ended = Counting(create_app(context)), threading.Event()
        teller = threading.Thread(target=counting.tell, args=(given.cases, ended))
        teller.start()
        try:
            with serving(counting) as (address, _):
                status, report = api_fuzz.fuzz(
                    address, folder, given.cases, given.seed, token=token
                )
        finally:
            ended.set()
            teller.join()
        context.engine.dispose()
    sys.stdout.write(report)
    sys.stdout.write(summary(given.role or "token", counting, status, report))
    sys.exit(status)


def summary(role: str, counting: Counting, status: int, report: str) -> str:
    """What was counted, in a few lines."""
    found = {what: int(count) for what, count in SAYS_FAILURES.findall(report)}
    violations = sum(count for what, count in found.items() if what != "Server error")
    statuses = ", ".join(f"{code}: {count}" for code, count in sorted(counting.statuses.items()))
    return (
        f"\nrole {role}: {counting.requests} requests answered ({statuses}), "
        f"{counting.faults.total()} server errors, {violations} violations of the description, "
        f"schemathesis ended with {status}\n"
        + "".join(f"  {count} times {what}\n" for what, count in counting.faults.most_common(20))
    )


if __name__ == "__main__":
    main()
