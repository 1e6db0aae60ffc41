"""After the demo: the service stays up, for a look around in what the demo made."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from rich.console import Console

from services.accounts import users
from services.context import Context
from services.cycle import cycles
from services.db.tables import UserRole
from services.errors import Conflict, InvalidRequest
from services.worker.supervisor import Supervisor

NAME = "demo"
LOOK_S = 1.0
"""Each look whether the supervisor lives; it restarts what dies meanwhile."""


def stay(
    project: Context,
    up: Supervisor,
    console: Console,
    wait: Callable[[Supervisor], None] | None = None,
) -> None:
    """Print where the pages are and who may sign in, and wait until Ctrl-C.

    One more cycle is begun, so that there is something to label; where the loop has nothing left
    to ask for, it says so.

    Args:
        project: of the demo.
        up: its services, started.
        console: to print to.
        wait: for the end; None: until Ctrl-C.
    """
    password = secrets.token_urlsafe(12)
    with project.sessions.begin() as session:
        users.add(session, project.settings, NAME, UserRole.ADMIN, password)
    up.wait_ready()
    try:
        with project.sessions.begin() as session:
            cycle = cycles.start(session, project).id
        console.print(f"cycle {cycle} has begun; soon it asks for labels on the page Label")
    except (Conflict, InvalidRequest) as refusal:
        console.print(f"no further cycle: {refusal}", markup=False)
    # In one line, however narrow the terminal: it is copied from there.
    told = f"pages: {up.api_url}/  name: {NAME}  password: {password}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops the service")
    try:
        (wait or _until_interrupted)(up)
    except KeyboardInterrupt:
        console.print("stopped")


def _until_interrupted(up: Supervisor) -> None:
    while True:
        up.wait(LOOK_S)
