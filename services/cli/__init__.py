"""The ``e2x`` command: one module a group of commands, each with ``register(app)``.

Modules import what needs PyTorch inside their functions, so that ``e2x --help`` answers at once.
"""

from __future__ import annotations

import os
import pwd
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from services.cli.common import CommandGroup, choose_project, configure_logs
from services.db import actors
from services.db.actors import Actor, Door
from services.plain import plain_text
from services.units import threads

MODULES = (
    "services.demo.cli",
    "services.cli.init",
    "services.cli.config",
    "services.cli.doctor",
    "services.cli.backup",
    "services.cli.store",
    "services.cli.index",
    "services.cli.up",
    "services.cli.worker",
    "services.cli.imports",
    "services.cli.train",
    "services.cli.ingest",
    "services.cli.cycle",
    "services.cli.labels",
    "services.cli.failures",
    "services.cli.modes",
    "services.cli.decisions",
    "services.cli.synthesis",
    "services.cli.drift",
    "services.cli.explain",
    "services.cli.models",
    "services.cli.mlflow",
    "services.cli.export",
    "services.cli.report",
    "services.cli.users",
    "services.cli.audit",
    "services.cli.units",
    "services.cli.metrics",
)
"""In the order in which a newcomer meets them, and ``e2x --help`` lists them."""


@cache  # the groups are of their modules: made again they would have each command twice
def make_app() -> typer.Typer:
    """The command line with all its commands, one for the process."""
    app = typer.Typer(
        name="e2x",
        cls=CommandGroup,
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,  # they may hold a token
        rich_markup_mode="markdown",
    )
    app.callback()(root)
    for name in MODULES:
        import_module(name).register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("e2x"))
        raise typer.Exit


def root(
    ctx: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(
            envvar="E2X_PROJECT", help="The project folder, made by `e2x init`.", show_default="."
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log to the screen; show tracebacks.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Explain-to-Fix: finds why a detector fails, finds the samples it lacked, repairs it."""
    del show_version  # its callback has done it
    configure_logs(verbose)
    choose_project(project)
    ctx.with_resource(actors.acting(Actor(operator(), Door.CLI)))


def operator() -> str:
    """Whoever runs the command, as the operating system calls them; not as a variable says.

    Behind `sudo` it is who called that: root is told apart from nobody.
    """
    uid = os.getuid()
    caller = os.environ.get("SUDO_UID", "")
    uid = int(caller) if uid == 0 and caller.isascii() and caller.isdecimal() else uid
    try:
        return plain_text(pwd.getpwuid(uid).pw_name, 80)
    except (KeyError, OverflowError):  # a container may run as a number that has no name
        return f"uid {uid}"


def main() -> None:
    """Run the command line."""
    threads.sleep_while_waiting()  # a command that computes may have workers beside it
    make_app()()
