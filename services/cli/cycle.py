"""``e2x cycle``: turns of the loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.cli.common import (
    JsonOption,
    Screen,
    columns_of,
    console,
    opened,
    print_facts,
    print_json,
    print_table,
)
from services.cli.cycle_output import (
    drawing_in_words,
    left_in_words,
    print_drawn,
    print_gate,
    print_plan,
    say_where,
    say_who_goes_on,
    tell_unreadable,
)
from services.cli.follow import RESTING, follow_cycle, progress, workers
from services.cli.modes import print_seen_modes
from services.cli.plan import draw_plan
from services.cycle import time_left, unreadable
from services.db import actors
from services.db.engine import reading
from services.db.tables import (
    FINISHED_CYCLES,
    OPEN_TASKS,
    CandidateRow,
    Cycle,
    LabelTask,
    Model,
    ModeRow,
    ModeSighting,
)
from services.errors import NotFound
from services.selection.outlook import read_plan

if TYPE_CHECKING:
    from services.context import Context

cycle_app = typer.Typer(help="Turns of the loop: select, label, retrain, gate.")

PolicyOption = Annotated[str | None, typer.Option(help="Selection policy instead of the setting.")]
BudgetOption = Annotated[int | None, typer.Option(help="Boxes to label.", min=1)]
KindOption = Annotated[
    Literal["full", "retrain"], typer.Option(help="`retrain`: on the labels that are there.")
]
SeedOption = Annotated[int | None, typer.Option(help="Of selection and training.", min=0)]
AnywayOption = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Explain failures first that wait because the champion finds too little."
    ),
]
NumberArgument = Annotated[int | None, typer.Argument(metavar="[N]", help="Without: the newest.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(cycle_app, name="cycle", no_args_is_help=True)


@cycle_app.command("run")
def run_cycle(
    kind: KindOption = "full",
    policy: PolicyOption = None,
    budget: BudgetOption = None,
    seed: SeedOption = None,
    anyway: AnywayOption = False,
) -> None:
    """Start a cycle and follow it until it waits for labels or has ended."""
    with opened() as context:
        cycle_id = _start(context, kind, policy, budget, seed, anyway)
        _follow(context, cycle_id, through_labels=False, timeout_s=None)


@cycle_app.command("start")
def start_cycle(
    kind: KindOption = "full",
    policy: PolicyOption = None,
    budget: BudgetOption = None,
    seed: SeedOption = None,
    anyway: AnywayOption = False,
) -> None:
    """Start a cycle and return at once; the services carry it on."""
    with opened() as context:
        cycle_id = _start(context, kind, policy, budget, seed, anyway)
        say_who_goes_on(context, f"cycle {cycle_id} started")


@cycle_app.command("wait")
def wait(
    number: NumberArgument = None,
    through_labels: Annotated[
        bool, typer.Option("--through-labels", help="Also wait while people label.")
    ] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", help="Seconds; the cycle goes on.")
    ] = None,
) -> None:
    """Follow a cycle until it waits for labels or has ended."""
    with opened() as context:
        cycle_id = _find(context, number).id
        _follow(context, cycle_id, through_labels, timeout_s)


@cycle_app.command("plan")
def plan(
    as_json: JsonOption = False,
    html: Annotated[
        bool, typer.Option("--html/--no-html", help="Choose, and write the page of it.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="The page; without: reports/plan.html of the project.")
    ] = None,
    policy: PolicyOption = None,
    budget: BudgetOption = None,
    look: Annotated[
        bool,
        typer.Option("--look/--no-look", help="Let the champion look at pool images it has not."),
    ] = True,
    view: Annotated[bool, typer.Option("--open", help="Open the page.")] = False,
) -> None:
    """Show what a cycle would ask for now and why, and what it lacks; asks for nothing.

    The page shows by failure mode the query regions and the pool images that they find.
    """
    with opened() as context:
        with reading(context.sessions) as session:
            found = read_plan(session, context, policy, budget)
        if as_json:
            print_json(found.to_dict())
        else:
            print_plan(found)
        if not html or as_json or not found.failures_explained or not found.pool_searchable:
            return
        file = (out or context.project.reports / "plan.html").expanduser().resolve()
        draw_plan(context, file, policy, budget, look)
    console().print(f"plan: {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    if view:
        typer.launch(file.as_uri())


@cycle_app.command("approve")
def approve(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="Id of a plan of the page.")],
) -> None:
    """Start a cycle that asks for exactly what a plan says; the page of plans shows it."""
    from services.config import explainers
    from services.selection import plans

    with opened() as context:
        explainers.check(context.settings.explanation)
        with context.sessions.begin() as session:
            cycle_id = plans.approve(session, context, plan_id).id
        say_who_goes_on(context, f"cycle {cycle_id} started")


@cycle_app.command("list")
def list_cycles(as_json: JsonOption = False) -> None:
    """List all cycles, the newest first."""
    with opened() as context, reading(context.sessions) as session:
        rows = session.scalars(select(Cycle).order_by(Cycle.id.desc())).all()
        numbers = _numbers(session)
    if as_json:
        print_json([columns_of(row, "decision") for row in rows])
        return
    print_table(
        "Cycles",
        ("#no", "kind", "state", "policy", "#budget", "#labelled", "from", "to", "promoted", "by"),
        [
            (
                row.id,
                row.kind,
                row.state,
                row.policy,
                row.budget_boxes,
                row.boxes_labelled,
                numbers.get(row.champion_id),
                numbers.get(row.challenger_id),
                row.promoted,
                row.trigger,
            )
            for row in rows
        ],
    )


@cycle_app.command("show")
def show(number: NumberArgument = None, as_json: JsonOption = False) -> None:
    """Show a cycle: failure modes, what was asked, and the gate's decision."""
    with opened() as context:
        cycle = _find(context, number)
        with reading(context.sessions) as session:
            modes = session.execute(
                select(ModeSighting, ModeRow)
                .join(ModeRow, ModeRow.id == ModeSighting.mode_id)
                .where(ModeSighting.cycle_id == cycle.id)
                .order_by(ModeSighting.size.desc(), ModeSighting.id)
            ).all()
            asked = dict(_tasks(session, cycle.id))
            images = session.scalar(select(func.count()).where(CandidateRow.cycle_id == cycle.id))
            numbers = _numbers(session)
            lost = unreadable.of_cycle(session, cycle)
            left = time_left.of(session, context, cycle)
    if as_json:
        named = [
            columns_of(seen) | {"name": mode.name, "label": mode.label, "state": mode.state}
            for seen, mode in modes
        ]
        extra = {"modes": named, "label_tasks": asked, "unreadable": lost.to_dict()}
        extra["time_left"] = None if left is None else left.to_dict()
        print_json(columns_of(cycle) | extra)
        return
    print_facts(
        f"Cycle {cycle.id}",
        [
            ("state", cycle.state),
            ("this step", left_in_words(left)),
            ("started by", f"{cycle.trigger}, {cycle.created_at:%Y-%m-%d %H:%M} UTC"),
            ("policy", f"{cycle.policy}, {cycle.budget_boxes} boxes, seed {cycle.seed}"),
            ("champion", numbers.get(cycle.champion_id)),
            ("challenger", numbers.get(cycle.challenger_id)),
            ("images asked", images),
            ("label tasks", ", ".join(f"{n} {state}" for state, n in asked.items())),
            ("boxes labelled", cycle.boxes_labelled),
            ("drawn samples", drawing_in_words(cycle.drawing)),
            ("promoted", cycle.promoted),
            ("note", cycle.note),
            ("error", cycle.error),
        ],
    )
    tell_unreadable(lost)
    if modes:
        print_seen_modes(modes)
    if cycle.decision:
        print_gate(cycle.decision)
        print_drawn(cycle.decision)


@cycle_app.command("cancel")
def cancel(number: NumberArgument = None) -> None:
    """Stop a cycle; its labels and models stay."""
    from services.cycle import cycles

    with opened() as context:
        cycle_id = _find(context, number).id
        with context.sessions.begin() as session:
            cycles.cancel(session, context, cycle_id, actors.current().name)
    console().print(f"cycle {cycle_id} is cancelled")


@cycle_app.command("train")
def train(number: NumberArgument = None) -> None:
    """Close the open label tasks of a cycle and retrain on the labels that are in."""
    from services.cycle import cycles

    with opened() as context:
        cycle_id = _find(context, number).id
        with context.sessions.begin() as session:
            cycles.train_with_what_is_there(session, context, cycle_id)
        say_who_goes_on(context, f"cycle {cycle_id} goes on without the open tasks")


def _start(
    context: Context,
    kind: str,
    policy: str | None,
    budget: int | None,
    seed: int | None,
    anyway: bool,
) -> int:
    from services.config import explainers
    from services.cycle import cycles

    explainers.check(context.settings.explanation)  # or it would begin at the next `e2x up`
    with context.sessions.begin() as session:
        return cycles.start(
            session,
            context,
            kind=kind,
            policy=policy,
            budget_boxes=budget,
            seed=seed,
            anyway=anyway,
        ).id


def _follow(context: Context, cycle_id: int, through_labels: bool, timeout_s: float | None) -> None:
    screen = Screen(stderr=True)
    cycle = _find(context, cycle_id)
    if cycle.state not in (FINISHED_CYCLES if through_labels else RESTING):
        with workers(context, screen), progress(screen) as bars:
            cycle = follow_cycle(context, cycle_id, bars, through_labels, timeout_s)
    with reading(context.sessions) as session:
        lost = unreadable.of_cycle(session, cycle)
    say_where(cycle, _open_tasks(context, cycle_id), lost)


def _find(context: Context, number: int | None) -> Cycle:
    from services.cycle import cycles

    with reading(context.sessions) as session:
        cycle = cycles.latest(session) if number is None else cycles.find(session, number)
    if cycle is None:
        raise NotFound("there was no cycle yet: `e2x cycle run` starts one")
    return cycle


def _open_tasks(context: Context, cycle_id: int) -> int:
    with reading(context.sessions) as session:
        counts = _tasks(session, cycle_id)
    return sum(count for state, count in counts.items() if state in OPEN_TASKS)


def _tasks(session: Session, cycle_id: int) -> dict[str, int]:
    query = select(LabelTask.state, func.count()).where(LabelTask.cycle_id == cycle_id)
    return {row[0]: row[1] for row in session.execute(query.group_by(LabelTask.state))}


def _numbers(session: Session) -> dict[str | None, int]:
    return {row[0]: row[1] for row in session.execute(select(Model.id, Model.number))}
