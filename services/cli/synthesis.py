"""``e2x synthesis``: samples that are drawn where the pool lacks them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import func, select

from services.cli import synthesis_training
from services.cli.common import (
    JsonOption,
    LimitOption,
    console,
    opened,
    print_facts,
    print_json,
    print_table,
)
from services.db import actors
from services.db.engine import reading
from services.db.tables import GeneratedRow, SampleState

if TYPE_CHECKING:
    from services.context import Context

synthesis_app = typer.Typer(help="Samples that are drawn where the pool lacks them.")
SHOWN_ID = 12

CycleOption = Annotated[
    int | None, typer.Option(help="Of this cycle; without: of the latest.", min=1)
]
IdsArgument = Annotated[
    list[int], typer.Argument(metavar="ID…", help="Numbers of drawn samples.", min=1)
]
NoteOption = Annotated[str, typer.Option(help="Why; kept with the sample.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    synthesis_training.register(synthesis_app)
    app.add_typer(synthesis_app, name="synthesis", no_args_is_help=True)


@synthesis_app.command("plan")
def plan(cycle: CycleOption = None, as_json: JsonOption = False) -> None:
    """Show what could be drawn for a cycle, from what, and what stands in the way."""
    from curation import synthesis
    from services.synthesis.scope import read_scope

    with opened() as context:
        scope = read_scope(context, _cycle(context, cycle))
        wanted = context.settings.synthesis
        name, version, unready = _who_draws(context)
    why = scope.why or unready
    told = {
        "cycle": scope.cycle.id,
        "enabled": wanted.enabled,
        "harm_from": wanted.harm_from,
        "generator": f"{name}:{version}",
        "generators": list(synthesis.names()),
        "budget": scope.budget,
        "controls": scope.controls,
        "share": round(scope.share, 4),
        "donor_images": len(scope.donors),
        "why": why,
        "modes": [
            {
                "mode": mode.id,
                "name": mode.name,
                "failures": mode.seen,
                "teaching": len(mode.failures),
                "why": mode.why,
            }
            for mode in scope.modes
        ],
    }
    if as_json:
        print_json(told)
        return
    print_facts(
        f"Samples for cycle {scope.cycle.id}",
        [
            ("in every cycle", "yes" if wanted.enabled else "no (`synthesis.enabled`)"),
            ("generator", f"{name}, version {version}"),
            ("generators", ", ".join(synthesis.names())),
            ("pixels of what hurt from", wanted.harm_from.replace("_", " ")),
            ("kept, at most", f"{scope.budget}, {scope.controls} of them controls"),
            ("drawn among the training images", f"{scope.share:.0%}"),
            ("images with known objects", len(scope.donors)),
            ("stands in the way", why or None),
        ],
    )
    print_table(
        "Failure modes",
        ("#mode", "name", "#failures", "#frames that give pixels", "stands in the way"),
        [(m.id, m.name, m.seen, len(m.failures), m.why) for m in scope.modes],
    )


@synthesis_app.command("run")
def run(cycle: CycleOption = None) -> None:
    """Have samples drawn for a cycle that waits for labels or is done, whatever the settings say.

    Those of a cycle that waits join its training; the others that of the next one.
    """
    from services.cli.cycle_output import say_who_goes_on
    from services.cycle import cycles, drawing
    from services.synthesis.drawers import drawer

    with opened() as context:
        with drawer(context) as generator:
            generator.require_ready()  # a slip in the settings is told here, and not later
        cycle_id = _cycle(context, cycle)
        with context.sessions.begin() as session:
            unit = drawing.ask_by_hand(session, context, cycles.hold(session, cycle_id)).id
        say_who_goes_on(context, f"samples of cycle {cycle_id} are asked for (unit {unit})")


@synthesis_app.command("list")
def list_samples(
    state: Annotated[SampleState | None, typer.Option(help="Only in this state.")] = None,
    cycle: Annotated[int | None, typer.Option(help="Only of this cycle.", min=1)] = None,
    mode: Annotated[int | None, typer.Option(help="Only of this failure mode.", min=1)] = None,
    generator: Annotated[str, typer.Option(help="Only drawn by this one.")] = "",
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List drawn samples, the newest first, and what became of them."""
    from services.synthesis import samples

    query = select(GeneratedRow)
    for column, value in (
        (GeneratedRow.state, state),
        (GeneratedRow.cycle_id, cycle),
        (GeneratedRow.mode_id, mode),
        (GeneratedRow.generator, generator or None),
    ):
        if value is not None:
            query = query.where(column == value)
    with opened() as context, reading(context.sessions) as session:
        total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
        rows = session.scalars(query.order_by(GeneratedRow.id.desc()).limit(limit)).all()
        names = samples.names_of(session, rows)
        told = [samples.told(session, row) for row in rows] if as_json else []
    if as_json:
        print_json(told)
        return
    print_table(
        "Drawn samples",
        ("#id", "state", "mode", "#cycle", "shows", "#score before", "#after", "why"),
        [
            (
                row.id,
                row.state,
                names[row.mode_id],
                row.cycle_id,
                row.staging,
                row.score_before,
                row.score_after,
                row.reason,
            )
            for row in rows
        ],
    )
    if total > len(rows):
        console().print(f"{len(rows)} of {total}; --limit shows more")


@synthesis_app.command("show")
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="Number of the sample.", min=1)],
    out: Annotated[
        Path | None, typer.Option(help="Write its picture, which carries the same, to this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show who made a sample, from what, with which seed, and why it was kept."""
    from services.store.storage import write_bytes
    from services.synthesis import samples

    with opened() as context, reading(context.sessions) as session:
        row = samples.find(session, number)
        told = samples.told(session, row)
        data = samples.picture(context, session, row) if out is not None else b""
    if out is not None:
        write_bytes(out, data)
    if as_json:
        print_json(told)
        return
    _print_sample(told)
    print_table(
        "Checks",
        ("check", "#value", "#bound", "passed", "why"),
        [(c["name"], c["value"], c["bound"], c["passed"], c["reason"]) for c in told["checks"]],
    )


def _print_sample(told: dict[str, Any]) -> None:
    donor, harm = told["donor"], told["harm"]
    print_facts(
        f"Sample {told['id']}",
        [
            ("state", f"{told['state']}, by {told['decided_by']}"),
            ("why", told["reason"] or "every check passed"),
            ("drawn for", f"{told['mode']}, cycle {told['cycle_id']}"),
            ("failure", told["failure_id"]),
            ("drawn by", f"{told['generator']}, version {told['generator_version']}"),
            ("parameters", told["parameters"]),
            ("seed", told["seed"]),
            ("known object", f"{donor['name']} ({donor['role']}) at {donor['box']}"),
            ("its picture", donor["image_id"]),
            ("among pixels of", f"{harm['name']} ({harm['role']}), around {harm['box']}"),
            ("its frame", harm["image_id"]),
            ("in its light", harm["light"]),
            ("model that was asked", told["model_id"]),
            ("score there, here", f"{told['score_before']}, {told['score_after']}"),
            ("image", told["image_id"]),
            ("record in the file", told["record"]),
        ],
    )


@synthesis_app.command("accept")
def accept(ids: IdsArgument, note: NoteOption = "") -> None:
    """Keep samples: they join the next dataset version."""
    from services.synthesis import samples

    with opened() as context, context.sessions.begin() as session:
        count = samples.accept(session, ids, actors.current().name, note)
    console().print(f"{count} samples are kept now: the next training has them")


@synthesis_app.command("refuse")
def refuse(ids: IdsArgument, note: NoteOption = "") -> None:
    """Refuse samples that passed the checks."""
    from services.synthesis import samples

    with opened() as context, context.sessions.begin() as session:
        count = samples.refuse(session, ids, actors.current().name, note)
    console().print(f"{count} samples are refused now")


@synthesis_app.command("withdraw")
def withdraw(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID…]", help="Numbers of drawn samples.")
    ] = None,
    generator: Annotated[
        str | None, typer.Option(help="All that it drew: its name, or NAME:VERSION.")
    ] = None,
    cycle: Annotated[
        int | None, typer.Option(help="All that were drawn for this cycle.", min=1)
    ] = None,
    note: NoteOption = "",
) -> None:
    """Take samples out of further dataset versions; models that learned from them stay."""
    from services.synthesis import samples

    with opened() as context, context.sessions.begin() as session:
        count = samples.withdraw(
            session,
            actors.current().name,
            note,
            ids=ids or (),
            cycle=cycle,
            generator=generator,
        )
    console().print(f"{count} samples are withdrawn: the next training goes without them")


def _who_draws(context: Context) -> tuple[str, str, str]:
    """Name and version of the generator of the settings, and why it cannot draw."""
    from curation.kernel.errors import GeneratorUnusable
    from services.synthesis.drawers import drawer

    version = "none"
    try:
        with drawer(context) as generator:
            version = generator.version
            generator.require_ready()
    except GeneratorUnusable as problem:
        return context.settings.synthesis.generator, version, str(problem)
    return generator.name, version, ""


def _cycle(context: Context, number: int | None) -> int:
    from services.cycle import cycles
    from services.errors import NotFound

    with reading(context.sessions) as session:
        found = cycles.latest(session) if number is None else cycles.find(session, number)
    if found is None:
        raise NotFound("there is no cycle yet: `e2x cycle run` starts one")
    return found.id
