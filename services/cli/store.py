"""``e2x store``: where the project's files are kept, and moving them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import JsonOption, console, opened, print_json
from services.cli.follow import progress
from services.errors import Conflict, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.upkeep.move_store import Tell

store_app = typer.Typer(help="Where files are kept: a folder, or a bucket.", no_args_is_help=True)
VARIABLE = "E2X_STORAGE__URL"


class MoveIncomplete(ServiceError):
    """Something could not be copied; the project goes on where it was."""

    code = "move_incomplete"
    status = 500


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(store_app, name="store")


@store_app.command("move")
def move(
    source: Annotated[str, typer.Argument(help="Where the files are: a URL, or `project`.")],
    target: Annotated[str, typer.Argument(help="Where they shall be: a URL, or `project`.")],
    leave_damaged: Annotated[
        bool, typer.Option("--leave-damaged", help="Switch although damaged files stay behind.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a project's files to another store, compare them by hash, then switch to it.

    Killed, it is run again and goes on. The old store is left as it is. Nothing of the project may
    run meanwhile, on any machine. Endpoint and credentials are those of `[storage]`.
    """
    from services.store.project_store import store_of
    from services.upkeep import move_store
    from services.worker.supervisor import running

    with opened() as context:
        if running(context.project) is not None:
            raise Conflict("`e2x up` is running: stop it first, and workers of other machines")
        here = move_store.store_at(context, source)
        there = move_store.store_at(context, target)
        now = store_of(context).objects.name
        if here.name != now:
            raise Conflict(f"the files of this project are in {now}, not in {here.name}")
        with _bar() as tell:
            moved = move_store.move(context, here, there, tell)
        if moved.wrong and not leave_damaged:
            for line in moved.wrong[:20]:
                console().print(line, markup=False, soft_wrap=True)
            raise MoveIncomplete(
                f"{len(moved.wrong)} of {moved.objects + len(moved.wrong)} objects were not moved "
                f"and the files stay in {now}: mend them (`e2x doctor --deep`) and run it again, "
                "or say --leave-damaged"
            )
        url = "" if target == "project" else target
        if VARIABLE not in os.environ:
            move_store.switch(context, url)
    if as_json:
        told = {"objects": moved.objects, "bytes": moved.bytes, "copied": moved.copied}
        print_json(told | {"left": moved.wrong, "url": url})
        return
    out = console()
    out.print(f"{moved.objects} objects, {moved.bytes / 2**20:.1f} MiB, are in {there.name}")
    if VARIABLE in os.environ:
        out.print(f"set {VARIABLE}={url} where the project's processes start")
    out.print(f"what is in {here.name} can be deleted when the project runs as it should")


@contextmanager
def _bar() -> Iterator[Tell]:
    with progress() as bars:
        task = bars.add_task("objects", total=None, note="")

        def tell(_what: str, done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield tell
