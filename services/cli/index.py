"""``e2x index``: what holds the regions of the pool, and putting them over."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import JsonOption, console, opened, print_json
from services.cli.follow import progress
from services.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.upkeep.move_engine import Tell

index_app = typer.Typer(help="What holds the regions of the pool.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(index_app, name="index")


@index_app.command("show")
def show(as_json: JsonOption = False) -> None:
    """The engine, and what it holds of each encoder."""
    from services.store.region_index import encoders_in, engine_of, open_index, width_of

    rows = []
    with opened() as context:
        engine = context.settings.index.engine
        told = engine_of(context).version()
        for encoder in encoders_in(context):
            index = open_index(context, encoder, width_of(context, encoder))
            row = {
                "encoder": encoder,
                "images": len(index.images()),
                "regions": len(index),
                "waiting": index.waiting(),
            }
            rows.append(row)
    if as_json:
        print_json({"engine": engine, "version": told, "indexes": rows})
        return
    out = console()
    out.print(f"{engine} ({told})")
    for row in rows:
        out.print(
            f"encoder {str(row['encoder'])[:12]}: {row['regions']} regions of {row['images']} "
            f"images, {row['waiting']} not sealed yet"
        )
    if not rows:
        out.print("nothing of the pool is indexed yet")


@index_app.command("move")
def move(
    source: Annotated[str, typer.Argument(help="The engine that holds the index: `faiss`.")],
    target: Annotated[str, typer.Argument(help="The engine that shall: `lancedb`.")],
    as_json: JsonOption = False,
) -> None:
    """Put the region index from one engine into another.

    Killed, it is run again and goes on. The old one is left as it is. Nothing of the project may
    run meanwhile, on any machine; set index.engine afterwards, on all of them.
    """
    from services.upkeep.move_engine import move_engine
    from services.worker.supervisor import running

    with opened() as context:
        if running(context.project) is not None:
            raise Conflict("`e2x up` is running: stop it first, and workers of other machines")
        with _bar() as tell:
            put = move_engine(context, source, target, tell)
    if as_json:
        print_json(
            {
                "images": put.images,
                "regions": put.regions,
                "moved": put.moved,
                "dropped": put.dropped,
                "engine": target,
            }
        )
        return
    out = console()
    out.print(f"{put.regions} regions of {put.images} images are in {target}, {put.moved} by this")
    out.print(f"now set index.engine = {target} on every host (E2X_INDEX__ENGINE, or [index])")


@contextmanager
def _bar() -> Iterator[Tell]:
    with progress() as bars:
        task = bars.add_task("images", total=None, note="")

        def tell(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total)

        yield tell
