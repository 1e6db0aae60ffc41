"""``e2x modes``: what the failures have in common, over the cycles."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy import select

from curation.modes.states import ModeState
from services.cli.common import (
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
from services.db.tables import Image, ModeRow, ModeSighting

modes_app = typer.Typer(help="Failure modes: failures with one cause, over the cycles.")
SHOWN_ID = 12

SHOWN_MODES = 30

StateOption = Annotated[ModeState | None, typer.Option(help="Only in this state.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(modes_app, name="modes")


@modes_app.callback(invoke_without_command=True)
def modes(
    invoked: typer.Context,
    state: StateOption = None,
    limit: LimitOption = SHOWN_MODES,
    as_json: JsonOption = False,
) -> None:
    """List failure modes, what needs work first."""
    if invoked.invoked_subcommand is None:
        list_modes(state, limit, as_json)


@modes_app.command("list")
def list_modes(
    state: StateOption = None, limit: LimitOption = SHOWN_MODES, as_json: JsonOption = False
) -> None:
    """List failure modes, what needs work first; JSON has all of them."""
    from services.modes.trends import state_in_words, trends, worst_first

    with opened() as context, reading(context.sessions) as session:
        query = select(ModeRow).order_by(ModeRow.id)
        if state is not None:
            query = query.where(ModeRow.state == state)
        found = worst_first(trends(session, session.scalars(query).all()))
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(
        "Failure modes",
        ("#mode", "name", "state", "kind", "#failures", "#failing now", "#images asked", "trend"),
        [
            (
                one.mode.id,
                one.mode.name,
                state_in_words(one.mode.state),
                one.last.kind,
                one.size,
                f"{one.failing} of {one.places}",
                one.asked,
                " → ".join(str(size) for _, size in one.sizes),
            )
            for one in found[:limit]
        ],
    )
    _print_rest(len(found), sum(one.size for one in found[limit:]), limit)


@modes_app.command("show")
def show_mode(
    number: Annotated[int, typer.Argument(metavar="ID", help="Number of the mode.", min=1)],
    as_json: JsonOption = False,
) -> None:
    """Show one failure mode: its exemplars, its size by cycle, and how it came to its state."""
    from services.modes import trends as mode_trends

    with opened() as context, reading(context.sessions) as session:
        (found,) = mode_trends.trends(session, [mode_trends.find(session, number)])
        steps = mode_trends.changes(session, number)
        shown = [
            (failure, session.get_one(Image, failure.image_id).name)
            for failure in mode_trends.exemplars(session, found.last)
        ]
        seen = session.scalars(
            select(ModeSighting)
            .where(ModeSighting.mode_id == number)
            .order_by(ModeSighting.cycle_id)
        ).all()
    if as_json:
        extra: dict[str, Any] = {
            "exemplars": [columns_of(failure) | {"frame": frame} for failure, frame in shown],
            "changes": [step.to_dict() for step in steps],
        }
        print_json(found.to_dict() | extra)
        return
    _print_mode(found)
    _print_sizes(found.sizes, seen)
    print_table(
        "Exemplars, the most typical first",
        ("failure", "state", "kind", "#score", "frame"),
        [(f.id[:SHOWN_ID], f.state, f.kind, f.score, frame) for f, frame in shown],
    )
    print_table(
        "How it came to that",
        ("#cycle", "state", "why", "when"),
        [(s.cycle, mode_trends.state_in_words(s.state), s.why, s.at) for s in steps],
    )


def print_seen_modes(modes: Any) -> None:
    """A table of failure modes as a cycle saw them, with their states of now."""
    from services.modes.trends import state_in_words

    print_table(
        "Failure modes",
        ("#mode", "name", "state now", "kind", "#failures", "#right before", "#right after"),
        [
            (
                mode.id,
                mode.name,
                state_in_words(mode.state),
                seen.kind,
                seen.size,
                None if seen.found_before is None else f"{seen.found_before:.0%}",
                None if seen.found_after is None else f"{seen.found_after:.0%}",
            )
            for seen, mode in modes[:SHOWN_MODES]
        ],
    )
    _print_rest(len(modes), sum(seen.size for seen, _ in modes[SHOWN_MODES:]), SHOWN_MODES)


def _print_rest(modes: int, failures: int, shown: int) -> None:
    """What a table has left out."""
    if modes > shown:
        console().print(f"{shown} of {modes}; the others hold {failures} failures")


def _print_mode(found: Any) -> None:
    from services.modes.trends import state_in_words

    print_facts(
        f"Failure mode {found.mode.id}",
        [
            ("name", found.mode.name),
            ("state", state_in_words(found.mode.state)),
            ("kind", found.last.kind),
            ("class", found.mode.label),
            ("failing now", f"{found.failing} of {found.places} places that judge"),
            ("places that teach", found.teaching),
            ("images asked", found.asked),
            ("failures", f"`e2x failures list --mode {found.mode.id}`"),
        ],
    )


def _print_sizes(sizes: tuple[tuple[int, int], ...], seen: Any) -> None:
    by_cycle = {sighting.cycle_id: sighting for sighting in seen}
    rows = []
    for cycle, size in sizes:
        sighting = by_cycle.get(cycle)
        joined = sighting.joined if sighting else 0
        shares = (sighting.found_before, sighting.found_after) if sighting else (None, None)
        rows.append((cycle, size, joined, *(None if s is None else f"{s:.0%}" for s in shares)))
    print_table(
        "By cycle", ("#cycle", "#failures", "#joined", "#right before", "#right after"), rows
    )
