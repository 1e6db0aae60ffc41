"""``e2x failures``: what the champion gets wrong in the field, why, and what is none of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from curation.kernel.types import FailureKind, Mechanism
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
from services.cli.failure_methods import explain_failure
from services.cli.failure_names import SHOWN_ID, find_failure
from services.db import actors
from services.db.engine import reading
from services.db.tables import FailureRow, FailureState, Image, Model
from services.failures import listing
from services.plain import beside

failures_app = typer.Typer(help="Wrong detections in field frames.")

DAY = ["%Y-%m-%d"]
SinceOption = Annotated[
    datetime | None, typer.Option(help="Only found on this day, in UTC, or later.", formats=DAY)
]
UntilOption = Annotated[
    datetime | None, typer.Option(help="Only found on this day, in UTC, or before.", formats=DAY)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    failures_app.command("explain")(explain_failure)
    app.add_typer(failures_app, name="failures", no_args_is_help=True)


@failures_app.command("list")
def list_failures(
    state: Annotated[FailureState | None, typer.Option(help="Only in this state.")] = None,
    kind: Annotated[FailureKind | None, typer.Option(help="Only of this kind.")] = None,
    label: Annotated[str, typer.Option(help="Only of this class.")] = "",
    model: Annotated[str, typer.Option(help="Only of this model: number or begin of id.")] = "",
    mode: Annotated[
        int | None, typer.Option(help="Only of this failure mode; 0: of none.", min=0)
    ] = None,
    mechanism: Annotated[Mechanism | None, typer.Option(help="Only lost by this.")] = None,
    drive: Annotated[str, typer.Option(help="Only in frames of this drive.")] = "",
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List failures, the newest first; what was taken back only with `--state`.

    A failure is withdrawn when the truth of its frame was corrected, and dismissed by a person.
    """
    from services.models import holding, registry

    with opened() as context, reading(context.sessions) as session:
        held = holding.why_champion_held(session, context.settings)
        wanted = listing.Wanted(
            state or "",
            kind or "",
            label,
            mechanism or "",
            mode,
            registry.find(session, model).number if model else None,
            drive,
            since.date() if since else None,
            until.date() if until else None,
        )
        query = select(FailureRow).where(*listing.conditions(wanted))
        total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
        rows = _with_names(session, query, limit)
    if as_json:
        print_json([columns_of(row) | {"frame": frame} for row, frame, _ in rows])
        return
    print_table(
        "Failures",
        ("id", "state", "kind", "class", "#score", "#IoU", "lost by", "model", "mode", "frame"),
        [
            (
                row.id[:SHOWN_ID],
                row.state,
                row.kind,
                row.label,
                row.score,
                row.iou,
                row.mechanism,
                number,
                row.mode_id,
                frame,
            )
            for row, frame, number in rows
        ],
    )
    console().print(f"{len(rows)} of {total}")
    if held is not None:
        console().print(f"! {held}", markup=False, style="yellow", soft_wrap=True)


def _with_names(
    session: Session, query: Select[Any], limit: int
) -> list[tuple[FailureRow, str, int]]:
    named = (
        query.add_columns(Image.name, Model.number)
        .join(Image, Image.id == FailureRow.image_id)
        .join(Model, Model.id == FailureRow.model_id)
        .order_by(FailureRow.created_at.desc(), FailureRow.id)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in session.execute(named)]


@failures_app.command("show")
def show_failure(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id, or the begin of it.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the picture goes; without: the reports folder.")
    ] = None,
    view: Annotated[bool, typer.Option("--open", help="Open the picture.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one failure and draw its explanation: red supports, blue hurts."""
    from services.store.drawings import newest_explanation, overlay_png
    from services.store.storage import write_bytes

    with opened() as context, reading(context.sessions) as session:
        failure = find_failure(session, name)
        frame = session.get_one(Image, failure.image_id)
        number = session.get_one(Model, failure.model_id).number
        explanation = newest_explanation(session, failure.id)
        picture = None
        if explanation is not None:
            picture = out or context.project.reports / f"failure-{failure.id[:SHOWN_ID]}.png"
            write_bytes(picture, overlay_png(session, context, failure))
    if as_json:
        regions = explanation.regions if explanation else []
        extra = {"frame": frame.name, "regions": regions, "picture": picture}
        print_json(columns_of(failure) | extra)
        return
    print_facts(
        f"Failure {failure.id[:SHOWN_ID]}",
        [
            ("kind", failure.kind),
            ("class", failure.label),
            ("predicted", failure.predicted_label),
            ("state", failure.state),
            ("frame", frame.name),
            ("box", ", ".join(f"{value:.1f}" for value in failure.box)),
            ("score", failure.score),
            ("IoU", failure.iou),
            ("lost by", failure.mechanism),
            ("model", number),
            ("mode", failure.mode_id),
            ("explained by", explanation.method if explanation else "nothing yet"),
        ],
    )
    if explanation is not None:
        print_table(
            "Regions that hurt",
            ("#region", "#share of the harm", "box", "hurts only with"),
            [
                (
                    n,
                    f"{region['weight']:.0%}",
                    ", ".join(f"{v:.0f}" for v in region["box"]),
                    beside(region),
                )
                for n, region in enumerate(explanation.regions, 1)
            ],
        )
        console().print(f"picture: {picture}")
        if view:
            typer.launch(str(picture))


@failures_app.command("dismiss")
def dismiss(
    names: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids, or the begins of them.")
    ],
    note: Annotated[str, typer.Option(help="Why, for the audit trail.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Say that failures are none: they are neither counted nor worked on any more.

    An operator's report that gave one is taken back with it, and later scans do not bring it
    back. Where the truth of a frame is wrong, rather send the frame again with the right one. To
    take a dismissal back, report the failure anew: `e2x ingest FRAME --missed CLASS:X1,Y1,X2,Y2`
    or `--false`, with a box of your own.
    """
    from services.cycle import dismissals

    with opened() as context, context.sessions.begin() as session:
        ids = [find_failure(session, name).id for name in names]
        rows = dismissals.dismiss(session, context.settings, ids, actors.current().name, note)
        dismissed = [row.id for row in rows]
    before = sorted(set(ids) - set(dismissed))
    if as_json:
        print_json({"dismissed": dismissed, "dismissed_before": before})
        return
    for identity in dismissed:
        console().print(f"dismissed {identity[:SHOWN_ID]}")
    for identity in before:
        console().print(f"{identity[:SHOWN_ID]} was dismissed before", style="dim")
