"""``e2x synthesis train``, and what is known of networks that were trained to draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import select

from services.cli.common import JsonOption, Screen, console, opened, print_json, print_table
from services.cli.follow import follow_unit, may_be_up, progress, show_beat, workers
from services.db import actors
from services.db.engine import reading
from services.db.tables import GeneratorRow, Unit, UnitState
from services.errors import InvalidRequest, ServiceError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from services.context import Context

TITLE = "train a network that draws"


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``e2x synthesis``."""
    app.command("train")(train)
    app.command("generators")(generators)
    app.command("verdict")(verdict)


def train(
    steps: Annotated[int, typer.Option(help="In all; more than before goes on.", min=1)] = 20_000,
    minutes: Annotated[
        float | None, typer.Option(help="Of training in all, at most; without: no limit.", min=0.01)
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Ask for it and return; the train worker does it.")
    ] = False,
) -> None:
    """Train the generator `bridge` on this project's own pictures; a later call goes on.

    Interrupted or killed, it goes on where it was. It makes way for the training of detectors.
    """
    from services.accounts import audit
    from services.synthesis import training

    with opened() as context:
        with context.sessions.begin() as session:
            unit_id = training.request(session, steps, minutes).id
            audit.record(session, "generator.train", f"unit:{unit_id}", steps=steps)
        if detach:
            gone = "" if may_be_up(context) else "; the services are not up: `e2x up` starts them"
            console().print(f"training is asked for (unit {unit_id}): `e2x units` shows it{gone}")
            return
        with workers(context, Screen(stderr=True)):
            number = _followed(context, unit_id)
        with reading(context.sessions) as session:
            query = select(GeneratorRow).where(GeneratorRow.number == number)
            row = session.scalars(query).one()
    _say(row)


def _followed(context: Context, unit_id: int) -> int:
    """The number of the network, once the last part of its training has ended."""
    from services.synthesis import training

    while True:
        with reading(context.sessions) as session:
            payload = session.get_one(Unit, unit_id).payload
        with progress() as bars:

            def look(task: TaskID, payload: dict[str, object] = payload) -> None:
                show_beat(bars, task, training.beat_of(context, payload))

            unit = follow_unit(context, unit_id, bars, TITLE, look)
        result = unit.result or {}
        if unit.state != UnitState.DONE:
            said = (unit.error or "").strip().splitlines()[-1:] or ["somebody stopped it"]
            raise ServiceError(
                f"training ended as {unit.state}: {said[0]}; `e2x units show {unit.id}` has the "
                "rest, `e2x synthesis train` goes on with what was learned"
            )
        if "goes_on" not in result:
            return int(result["generator"])
        unit_id = int(result["goes_on"])


def _say(row: GeneratorRow) -> None:
    from services.synthesis import drawers

    lost = len(row.training["unreadable"])
    out = console()
    out.print(
        f"generator {row.number}: {row.steps} steps on {row.training['windows']} windows, loss "
        f"{row.training['loss']}, weights {row.id[:12]}"
    )
    if lost:
        out.print(f"! {lost} pictures could not be read: put them back from a backup")
    why = drawers.why_not(row)
    if why:
        out.print(f"it is not relied on: {why}", soft_wrap=True)
        out.print(
            "`e2x synthesis verdict` enters what was measured; until then `synthesis.generator = "
            '"bridge"` is refused unless `unproven` is true among its parameters',
            soft_wrap=True,
        )


def generators(as_json: JsonOption = False) -> None:
    """List who can draw: what is built in, networks trained here, and what was measured of them."""
    from curation import synthesis
    from services.synthesis import drawers

    with opened() as context, reading(context.sessions) as session:
        rows = session.scalars(select(GeneratorRow).order_by(GeneratorRow.number.desc())).all()
        told = [drawers.told(row) for row in rows]
        wanted = context.settings.synthesis.generator
    if as_json:
        print_json({"in_use": wanted, "known": list(synthesis.names()), "trained": told})
        return
    console().print(f"{', '.join(synthesis.names())} can draw; the settings name {wanted}")
    print_table(
        "Networks that were trained here",
        ("#number", "weights", "#steps", "#windows", "#loss", "#seconds", "not relied on, since"),
        [
            (
                row.number,
                row.id[:12],
                row.steps,
                row.training["windows"],
                row.training["loss"],
                row.training["seconds"],
                one["why_not"],
            )
            for row, one in zip(rows, told, strict=True)
        ],
    )


def verdict(
    name: Annotated[str, typer.Argument(metavar="GENERATOR", help="Its number or id.")],
    file: Annotated[Path, typer.Argument(help="JSON: what was measured, bars G1 and G6.")],
) -> None:
    """Enter what was measured of a network, after which it may be relied on, or may not."""
    from services.synthesis import drawers

    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InvalidRequest(f"{file} cannot be read as JSON: {problem}") from problem
    if not isinstance(read, dict):
        raise InvalidRequest(f"{file} holds no verdict: an object with weights, conditioned, worth")
    with opened() as context, context.sessions.begin() as session:
        row = drawers.judge(session, name, read, actors.current().name)
        why, number = drawers.why_not(row), row.number
    console().print(
        f"generator {number} is not relied on: {why}" if why else f"generator {number} may draw",
        soft_wrap=True,
    )
