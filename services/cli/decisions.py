"""``e2x decisions``: what people decided about images and failure modes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from services.cli.common import (
    JsonOption,
    LimitOption,
    columns_of,
    console,
    opened,
    print_json,
    print_table,
)
from services.db.engine import reading
from services.db.tables import Decision, DecisionKind

decisions_app = typer.Typer(
    help="What people decide about images and failure modes; each holds until it is undone."
)
WhyOption = Annotated[str, typer.Option("--why", help="Kept with the decision.")]
ModeArgument = Annotated[int, typer.Argument(metavar="MODE", help="Number of the mode.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(decisions_app, name="decisions", no_args_is_help=True)


@decisions_app.command("list")
def list_decisions(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were undone.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List decisions, the newest first, with what they change now."""
    from services.modes import decision_rows

    with opened() as context, reading(context.sessions) as session:
        rows = decision_rows.listed(session, limit, holding=not everything)
        told = decision_rows.told(session, rows)
    if as_json:
        print_json([columns_of(row) | {"now": told.get(row.id)} for row in rows])
        return
    print_table(
        "Decisions",
        ("#no", "what", "about", "why", "who", "when", "now"),
        [
            (
                row.id,
                decision_rows.IN_WORDS[row.kind],
                _about(row),
                row.note,
                row.actor,
                row.created_at,
                "undone" if row.undone_at else told.get(row.id, "holds"),
            )
            for row in rows
        ],
    )


@decisions_app.command("strike-image")
def strike_image(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Its whole id.")], why: WhyOption
) -> None:
    """Never ask anybody to label an image."""
    _make(DecisionKind.STRIKE_IMAGE, image_id=image, note=why)


@decisions_app.command("strike-mode")
def strike_mode(number: ModeArgument, why: WhyOption) -> None:
    """Spend no labels on a failure mode."""
    _make(DecisionKind.STRIKE_MODE, mode_id=number, note=why)


@decisions_app.command("merge")
def merge(
    number: ModeArgument,
    others: Annotated[list[int], typer.Argument(metavar="OTHER...", help="Merged into it.")],
    why: WhyOption,
) -> None:
    """Make modes one, from the next plan and cycle on."""
    _make(DecisionKind.MERGE, mode_id=number, modes=others, note=why)


@decisions_app.command("split")
def split(
    number: ModeArgument,
    why: WhyOption,
    failure: Annotated[
        list[str], typer.Option("--failure", help="Whole id; repeat it for each that leaves.")
    ],
    name: Annotated[str, typer.Option(help="Of the new mode.")] = "",
) -> None:
    """Make some failures of a mode a mode of their own, from the next plan and cycle on."""
    _make(DecisionKind.SPLIT, mode_id=number, failures=failure, name=name, note=why)


@decisions_app.command("rename")
def rename(
    number: ModeArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it shall be called.")],
    why: WhyOption = "",
) -> None:
    """Call a mode otherwise."""
    _make(DecisionKind.RENAME, mode_id=number, name=name, note=why)


@decisions_app.command("undo")
def undo(
    number: Annotated[int, typer.Argument(metavar="NO", help="Of the decision.", min=1)],
) -> None:
    """Take a decision back."""
    from services.modes import decision_rows, decisions

    with opened() as context, context.sessions.begin() as session:
        row = decisions.undo(session, number)
        said = f"decision {row.id} is undone: {decision_rows.IN_WORDS[row.kind]}"
    console().print(said)


def _make(kind: DecisionKind, **values: Any) -> None:
    from services.modes import decision_rows, decisions

    with opened() as context, context.sessions.begin() as session:
        row = decisions.make(session, kind, **values)
        said = (
            f"decision {row.id}: {decision_rows.IN_WORDS[row.kind]}; `e2x decisions undo {row.id}`"
        )
    console().print(said, markup=False)


def _about(row: Decision) -> str:
    if row.kind == DecisionKind.MERGE:
        return f"modes {', '.join(str(one) for one in row.detail['modes'])} into {row.mode_id}"
    if row.kind == DecisionKind.SPLIT:
        made = f" into mode {row.detail['made']}" if row.detail.get("made") else ""
        return f"{len(row.detail['places'])} failures of mode {row.mode_id}{made}"
    if row.kind == DecisionKind.RENAME:
        return f"mode {row.mode_id}: {row.detail['before']} to {row.detail['name']}"
    if row.image_id is not None:
        return f"image {row.image_id[:12]}"
    if row.mode_id is None:
        return f"a mode of {len(row.detail['places'])} failures"
    return f"mode {row.mode_id}"
