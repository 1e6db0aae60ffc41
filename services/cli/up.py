"""``e2x up``: all services of the project, until Ctrl-C."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import console, opened

if TYPE_CHECKING:
    from services.context import Context

WATCHED_S = 1.0
"""How soon a supervisor that does not watch any more ends the command, in error."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    api: Annotated[bool, typer.Option("--api/--no-api", help="Run the HTTP API.")] = True,
) -> None:
    """Run broker, relay, scheduler, workers and API; Ctrl-C stops them cleanly."""
    from services.config import explainers
    from services.worker.supervisor import Supervisor

    out = console()
    with opened() as context:
        explainers.check(context.settings.explanation)
        _stop_on_signals()
        try:
            with Supervisor(context, api=api) as supervisor:
                out.print(f"starting the services of {context.project.root}", style="dim")
                supervisor.wait_ready()
                names = ", ".join(sorted(supervisor.pids))
                out.print(f"up: {names}")
                if supervisor.api_url:
                    out.print(f"pages: {supervisor.api_url}/, accounts by `e2x users add NAME`")
                    out.print(f"API: {supervisor.api_url}/docs, {_key(context)}")
                out.print(f"logs: {context.project.logs}; Ctrl-C stops all")
                while True:
                    supervisor.wait(WATCHED_S)
        except KeyboardInterrupt:
            out.print("stopped: all processes have ended")


def _key(context: Context) -> str:
    """How to get in."""
    if context.settings.environment == "production":
        return "for accounts: `e2x users add NAME`"
    return f"token in {context.project.state / 'api-token'}"


def _stop_on_signals() -> None:
    """The first Ctrl-C or SIGTERM ends the command; more of them do not disturb the ending."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
