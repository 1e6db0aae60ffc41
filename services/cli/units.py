"""``e2x units``: the machinery's work, and what it gave up on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import func, select

from services.cli.common import (
    FAILURE_EXIT,
    JsonOption,
    LimitOption,
    columns_of,
    console,
    opened,
    print_facts,
    print_json,
    print_table,
)
from services.db.engine import reading
from services.db.tables import TERMINAL, Unit, UnitState
from services.errors import InvalidRequest, ServiceError

if TYPE_CHECKING:
    from services.context import Context

units_app = typer.Typer(help="Units of work: what waits, runs, and was given up.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(units_app, name="units", no_args_is_help=True)


@units_app.command("list")
def list_units(
    state: Annotated[
        UnitState | None, typer.Option(help="Only in this state; without: what is open or dead.")
    ] = None,
    kind: Annotated[str, typer.Option(help="Only of this kind, such as `explain`.")] = "",
    cycle: Annotated[int | None, typer.Option(help="Only of this cycle.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List units, the newest first, and count them by state."""
    from services import units

    query = select(Unit).order_by(Unit.id.desc()).limit(limit)
    if state is None:
        query = query.where(Unit.state.not_in((UnitState.DONE, UnitState.CANCELLED)))
    else:
        query = query.where(Unit.state == state)
    if kind:
        query = query.where(Unit.kind == kind)
    if cycle is not None:
        query = query.where(Unit.cycle_id == cycle)
    with opened() as context, reading(context.sessions) as session:
        rows = session.scalars(query).all()
        counts = units.counts(session, cycle)
    if as_json:
        print_json({"counts": counts, "units": [columns_of(row, "error") for row in rows]})
        return
    print_table(
        "Units",
        ("#id", "kind", "state", "#tries", "cycle", "error", "key"),
        [
            (
                row.id,
                row.kind,
                row.state,
                f"{row.attempts}/{row.max_attempts}" + (f", {row.lost} lost" if row.lost else ""),
                row.cycle_id,
                row.error_code,
                row.key[:60],
            )
            for row in rows
        ],
    )
    console().print(", ".join(f"{count} {name}" for name, count in counts.items() if count))


@units_app.command("show")
def show_unit(
    unit_id: Annotated[int, typer.Argument(metavar="ID")], as_json: JsonOption = False
) -> None:
    """Show one unit with its error."""
    from services import units

    with opened() as context, reading(context.sessions) as session:
        unit = units.find(session, unit_id)
    if as_json:
        print_json(columns_of(unit))
        return
    facts = columns_of(unit, "id", "error")
    print_facts(f"Unit {unit.id}", facts.items())
    if unit.error:
        console().print(unit.error, markup=False, style="dim")


@units_app.command("redrive")
def redrive(
    unit_ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]…")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead unit.")] = False,
) -> None:
    """Try dead units again, with all their tries.

    A cycle that failed with one of them goes on, unless another cycle runs. What is refused keeps
    the others from nothing; the exit status is 1 then.
    """
    if bool(unit_ids) == every:
        raise InvalidRequest("name units, or say --all: `e2x units list --state dead` shows them")
    with opened() as context:
        wanted = unit_ids or _dead(context)
        refused = _redrive(context, wanted)
        if unit_ids and len(unit_ids) == len(refused) == 1:
            raise refused[unit_ids[0]]
        with reading(context.sessions) as session:
            query = select(func.count()).where(Unit.state.not_in(TERMINAL))
            waiting = session.scalar(query)
    console().print(
        f"redriven: {len(wanted) - len(refused)}; {waiting} units wait or run now", soft_wrap=True
    )
    for unit_id, error in refused.items():
        console().print(f"  unit {unit_id}: {error}", markup=False, style="yellow", soft_wrap=True)
    if refused:
        raise typer.Exit(FAILURE_EXIT)


def _dead(context: Context) -> list[int]:
    """The newest first: of several cycles that failed, only one can go on."""
    with reading(context.sessions) as session:
        query = select(Unit.id).where(Unit.state == UnitState.DEAD).order_by(Unit.id.desc())
        return list(session.scalars(query))


def _redrive(context: Context, unit_ids: list[int]) -> dict[int, ServiceError]:
    """Each in a transaction of its own; those that are refused, and why."""
    from services.cycle import redrive as units_again

    refused: dict[int, ServiceError] = {}
    for unit_id in unit_ids:
        try:
            with context.sessions.begin() as session:
                units_again.redrive(session, unit_id)
        except ServiceError as error:
            refused[unit_id] = error
    return refused
