"""``e2x worker``: units of some queues, on any host."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated

import typer

from services.cli.common import console
from services.config.settings import get_settings
from services.errors import InvalidRequest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(
    queues: Annotated[
        str, typer.Option(help="Which, separated by commas: explain, embed, index, train, default.")
    ] = "",
    name: Annotated[
        str, typer.Option(help="Of this worker, one of its own.", show_default="queues and host")
    ] = "",
    children: Annotated[int, typer.Option(help="Units at a time.", min=1)] = 1,
) -> None:
    """Work on units of some queues, until Ctrl-C or SIGTERM; for hosts beside the one of `e2x up`.

    A host without the project's folder needs only settings: E2X_DATABASE_URL, E2X_BROKER_URL,
    E2X_STORAGE__URL, with what else the project sets, and an empty folder (--project) for copies.
    """
    from services.config.hosts import open_host, sees_all
    from services.units.pipeline import QUEUES

    settings = get_settings()
    asked = [one.strip() for one in queues.split(",") if one.strip()] or list(QUEUES)
    if unknown := sorted(set(asked) - set(QUEUES)):
        raise InvalidRequest(f"no queue {', '.join(unknown)}: there are {', '.join(QUEUES)}")
    project = open_host(settings)
    if warning := sees_all(settings, project.root):
        console().print(f"note: {warning}", style="yellow", soft_wrap=True)
    own = name or f"{'-'.join(asked)}-{socket.gethostname().partition('.')[0]}"
    served = ("worker", f"--queues={','.join(asked)}", f"--name={own}", f"--children={children}")
    os.environ["E2X_PROJECT"] = str(project.root)
    sys.stdout.flush()
    # Become the worker: signals, and a container that ends with its first process, reach it.
    os.execv(sys.executable, [sys.executable, "-m", "services.worker", *served])
